-- Shapes of SELECT, one a line: {d} is the database; {tcp}, {user} and {password} are the lake's own. See test_current_reads.py.
-- counts and extremes, which parts could answer from what they keep about themselves
select count() from {d}.orders
select count(*) from {d}.lines
select count(note) from {d}.orders
select count(distinct customer) from {d}.orders
select min(id), max(id), count() from {d}.orders
select min(amount), max(amount) from {d}.orders
select min(placed_on), max(placed_on) from {d}.orders
select any(status) from {d}.orders where id = 5
select count() from {d}.orders where id = 17
select count() from {d}.orders where id in (3, 5, 7, 9, 1000)
select count() from {d}.orders where id between 20 and 60
select count() from {d}.orders where not (id < 100)
select count() from {d}.lines where order_id = 4
select count() from {d}.lines where (order_id, line) = (4, 2)
select count() from {d}.lines where (order_id, line) in ((4, 2), (5, 1), (6, 3))
-- filters on columns that change: a version that is not current must not answer, and must not hide the current one
select id from {d}.orders where status = 'paid'
select id from {d}.orders where status != 'paid'
select id from {d}.orders where status in ('new', 'void') and amount > 100
select id from {d}.orders where amount > 250
select id from {d}.orders where amount between 100 and 200
select id from {d}.orders where note is null
select id from {d}.orders where note is not null and note != ''
select id from {d}.orders where note = 'gift'
select id from {d}.orders where note like '%if%'
select id from {d}.orders where note ilike 'GI%' or status = 'sent'
select id from {d}.orders where match(note, '^l')
select id from {d}.orders where customer is null
select id from {d}.orders where coalesce(customer, 0) > 20
select id from {d}.orders where has(tags, 'lamp')
select id from {d}.orders where empty(tags)
select id from {d}.orders where tags.size0 > 1
select id from {d}.orders where extra['desk'] > 3
select id from {d}.orders where mapContains(extra, 'rug')
select id from {d}.orders where place.city = 'Peru'
select id from {d}.orders where note.null
select id from {d}.orders where toMonth(placed_on) = 3
select id from {d}.orders where placed_on >= '2026-06-01' and status = 'new'
select id from {d}.orders where if(status = 'paid', amount > 100, amount < 50)
select id from {d}.orders where status = 'paid' and id % 2 = 0 and note is null
select id from {d}.orders where (status, place.zip) in (('paid', 1), ('new', 2))
select id, status from {d}.orders where id < 50 and status = 'void'
select name from {d}.customers where country = 'Chile'
select count() from {d}.lines where quantity < 0
select product from {d}.lines where product = 'lamp' and quantity > 5 and line = 1
-- aggregates
select status, count() from {d}.orders group by status
select status, sum(amount), avg(toFloat64(amount)) > 200 from {d}.orders group by status
select customer, sum(amount) as s from {d}.orders group by customer having s > 500
select country, count() from {d}.customers group by country with totals
select status, place.city, count() from {d}.orders group by status, place.city with rollup
select status, place.city, count() from {d}.orders group by cube(status, place.city)
select status, place.city, count() from {d}.orders group by grouping sets ((status), (place.city), ())
select toStartOfMonth(placed_on) as m, sum(amount) from {d}.orders group by m
select countIf(status = 'paid'), sumIf(amount, status = 'paid') from {d}.orders
select uniqExact(customer), uniqExactIf(customer, amount > 100) from {d}.orders
select quantileExact(0.5)(amount), quantilesExact(0.1, 0.9)(amount) from {d}.orders
select arraySort(groupArray(id)) from {d}.orders where status = 'new'
select arraySort(groupUniqArray(status)) from {d}.orders
select groupArraySorted(5)(amount) from {d}.orders
select argMax(id, (amount, id)), argMin(id, (amount, id)) from {d}.orders
select sumMap(extra) from {d}.orders
select topK(1)(product) from {d}.lines where product = 'rug'
select groupBitXor(id) from {d}.orders
select product, sum(quantity) from {d}.lines group by product order by 2 desc, 1 limit 3
select order_id, count() from {d}.lines group by order_id having count() > 2
select finalizeAggregation(sumState(amount)) from {d}.orders
select sumMerge(s) from (select sumState(quantity) as s from {d}.lines group by product)
select max(c) from (select count() as c from {d}.orders group by customer)
select distinct status from {d}.orders
select distinct on (status) status from {d}.orders
select count() from (select distinct customer, status from {d}.orders)
select corr(toFloat64(amount), toFloat64(id)) > -2 from {d}.orders
select histogram(1)(toFloat64(amount))[1].3 > 0 from {d}.orders
select any(status) as s, count() from {d}.orders group by status order by s
-- order, limit, pages
select id from {d}.orders order by id limit 10
select id from {d}.orders order by id desc limit 10
select id, amount from {d}.orders order by amount desc, id limit 10
select id from {d}.orders order by id limit 10 offset 40
select id from {d}.orders where id > 77 order by id limit 5
select id from {d}.orders where (amount, id) > (100, 5) order by amount, id limit 7
select order_id, line from {d}.lines order by order_id, line limit 11
select order_id, line from {d}.lines order by order_id desc, line desc limit 11
select status, id from {d}.orders order by status, id limit 2 by status
select amount from {d}.orders order by amount limit 3 with ties
select id from {d}.orders order by id limit 1, 4
select min(id) from (select id from {d}.orders order by amount desc, id limit 20)
select placed_on, count() as c from {d}.orders where toYYYYMM(placed_on) = 202603 group by placed_on order by placed_on with fill
-- joins
select o.id, c.name from {d}.orders as o join {d}.customers as c on o.customer = c.id
select o.id, c.name from {d}.orders as o inner join {d}.customers as c on o.customer = c.id where c.country = 'Peru'
select o.id, c.name from {d}.orders o left join {d}.customers c on o.customer = c.id where o.status = 'paid'
select o.id, c.id from {d}.orders o right join {d}.customers c on o.customer = c.id
select o.id, c.id from {d}.orders o full join {d}.customers c on o.customer = c.id settings join_use_nulls = 1
select c.id from {d}.customers c left anti join {d}.orders o on o.customer = c.id
select c.id from {d}.customers c left semi join {d}.orders o on o.customer = c.id
select c.id from {d}.customers c any left join {d}.orders o on o.customer = c.id
select count() from {d}.customers a cross join {d}.customers b where a.country = b.country
select count() from {d}.customers a, {d}.customers b where a.boss = b.id
select a.id, b.name from {d}.customers a join {d}.customers b on a.boss = b.id
select o.id, l.line from {d}.orders o join {d}.lines l on o.id = l.order_id where l.product = 'vase'
select o.status, sum(l.quantity) from {d}.orders o join {d}.lines l on o.id = l.order_id group by o.status
select c.country, sum(o.amount) from {d}.orders o join {d}.customers c on o.customer = c.id group by c.country
select c.country, l.product, sum(l.quantity) from {d}.orders o join {d}.customers c on o.customer = c.id join {d}.lines l on l.order_id = o.id group by 1, 2
select o.id from {d}.orders o join {d}.customers c on o.customer = c.id and c.country = 'Chile' and o.amount > 50
select id, total from {d}.orders join (select order_id, sum(quantity) as total from {d}.lines group by order_id) as t on id = t.order_id
select id from {d}.orders join {d}.customers using (id)
select l.order_id, l.line, p.price from (select *, toDateTime64('2026-01-01 00:00:00', 3, 'UTC') + toIntervalDay(order_id) as at from {d}.lines) l asof join {d}.prices p on l.product = p.product and l.at >= p.since
select o.id from {d}.orders o join {d}.orders q on o.id = q.id and o.status = q.status
select o.id from {d}.orders o join {d}.orders q on o.id = q.id + 1 where q.status = 'paid' and o.status = 'new'
select o.id, n.number from {d}.orders o join numbers(20) n on o.id = n.number
select o.id from {d}.orders o join {d}.customers c on o.customer = c.id settings join_algorithm = 'full_sorting_merge'
select o.id from {d}.orders o join {d}.customers c on o.customer = c.id settings join_algorithm = 'grace_hash'
select o.id from {d}.orders o join {d}.customers c on o.customer = c.id settings join_algorithm = 'partial_merge'
select count() from {d}.orders o global join {d}.customers c on o.customer = c.id
-- subqueries
select id from {d}.orders where customer in (select id from {d}.customers where country = 'Brazil')
select id from {d}.orders where customer not in (select id from {d}.customers where country = 'Brazil')
select id from {d}.orders where customer global in (select id from {d}.customers where country = 'Ghana')
select id from {d}.orders where id in (select order_id from {d}.lines where quantity > 6)
select id from {d}.orders where id in {d}.customers_ids
select id from {d}.orders where (id, 1) in (select order_id, line from {d}.lines)
select id from {d}.orders where amount > (select avg(amount) from {d}.orders)
select id from {d}.orders where amount = (select max(amount) from {d}.orders)
select (select count() from {d}.orders) - (select count() from {d}.lines)
select id from {d}.orders where exists (select 1 from {d}.customers where country = 'Peru')
select id from {d}.orders o where exists (select 1 from {d}.lines l where l.order_id = o.id and l.quantity > 7)
select id from {d}.orders o where not exists (select 1 from {d}.lines l where l.order_id = o.id)
select id, (select count() from {d}.lines l where l.order_id = o.id) as n from {d}.orders o where o.id < 30
select id from (select * from {d}.orders where status = 'paid') where amount > 100
select id from (select id, status from (select * from {d}.orders)) where status = 'sent'
select s, count() from (select status as s from {d}.orders union all select country from {d}.customers) group by s
select id from {d}.orders where id = any(select order_id from {d}.lines where product = 'rug')
select id from {d}.orders where amount >= all(select amount from {d}.orders where status = 'void')
select * except (tags, extra, place) from {d}.orders where id < 20
select columns('^(id|amount)$') from {d}.orders where id < 20
select * apply toString from (select id, amount from {d}.orders where id < 9)
-- common table expressions
with paid as (select * from {d}.orders where status = 'paid') select count(), sum(amount) from paid
with a as (select id, customer from {d}.orders), b as (select id as c, country from {d}.customers) select country, count() from a join b on a.customer = b.c group by country
with (select max(amount) from {d}.orders) as top select id from {d}.orders where amount = top
with x as (select status, count() as n from {d}.orders group by status) select a.status from x a join x b on a.n = b.n
with recursive up as (select id, boss, 0 as depth from {d}.customers where id = 40 union all select c.id, c.boss, up.depth + 1 from {d}.customers c join up on c.id = up.boss) select id, depth from up
with 100 as least select id from {d}.orders where amount < least
-- sets
select id from {d}.orders union all select id from {d}.customers
select id from {d}.orders union distinct select order_id from {d}.lines
select id from {d}.orders intersect select order_id from {d}.lines
select id from {d}.orders except select order_id from {d}.lines
select id from {d}.orders where status = 'new' except select id from {d}.orders where amount > 100
(select id from {d}.orders order by id limit 3) union all (select id from {d}.orders order by id desc limit 3)
-- windows
select id, row_number() over (order by id) from {d}.orders
select id, rank() over (partition by status order by amount, id) from {d}.orders
select id, sum(amount) over (partition by customer order by id) from {d}.orders
select id, sum(amount) over (order by id rows between 2 preceding and current row) from {d}.orders
select id, lagInFrame(amount) over (order by id) from {d}.orders
select id, first_value(status) over (partition by customer order by id) from {d}.orders
select id from {d}.orders qualify row_number() over (partition by status order by amount desc, id) <= 2
select status, sum(count()) over (order by status) from {d}.orders group by status
select id, amount - avg(amount) over w > 0 from {d}.orders window w as (partition by status)
-- arrays, maps and tuples
select id, tag from {d}.orders array join tags as tag
select tag, count() from {d}.orders array join tags as tag group by tag
select id, tag from {d}.orders left array join tags as tag where id < 40
select id, k, v from {d}.orders array join mapKeys(extra) as k, mapValues(extra) as v
select arrayJoin(tags) as t, sum(amount) from {d}.orders group by t
select id, arraySum(x -> length(x), tags) from {d}.orders
select id, length(tags), tags[1] from {d}.orders
select sum(length(tags)) from {d}.orders
select sum(extra['lamp']) from {d}.orders
select mapKeys(extra) as k, count() from {d}.orders group by k
select place.zip as z, count() from {d}.orders group by z
select tupleElement(place, 'city') as c, uniqExact(id) from {d}.orders group by c
select sum(arrayCount(t -> t = 'lamp', tags)) from {d}.orders where status = 'paid'
-- views over views, other engines and functions that read tables
select * from {d}.paid
select id from {d}.paid where amount > 200
select * from {d}.paid_by_customer where total > 300
select count() from {d}.full where country = 'Brazil'
select country, sum(amount) from {d}.full group by country
select * from {d}.full_paid where pieces > 5
select f.id from {d}.full f join {d}.paid p on f.id = p.id
select id from {d}.of_status(s = 'void')
select count() from {d}.all_orders
select id from {d}.all_orders where status = 'sent'
select sum(amount) from merge('{d}', '^orders$') where note = 'late'
select id from view(select id from {d}.orders where status = 'paid') where id < 90
select count() from remote('127.0.0.1:{tcp}', {d}.orders, '{user}', '{password}')
select status, sum(amount) from remote('127.0.0.1:{tcp}', {d}.orders, '{user}', '{password}') group by status
select id from remote('127.0.0.1:{tcp}', {d}.orders, '{user}', '{password}') where note = 'gift'
select r.id from remote('127.0.0.1:{tcp}', {d}.orders, '{user}', '{password}') r join {d}.customers c on r.customer = c.id
select count() from remote('127.0.0.1:{tcp},127.0.0.1:{tcp}', {d}.orders, '{user}', '{password}')
select customer, count() from remote('127.0.0.{{1,1}}:{tcp}', {d}.paid, '{user}', '{password}') group by customer
select dictGet('{d}.names', 'name', toUInt64(c.id)) = c.name from {d}.customers c
-- written with FINAL already, with aliases, quoted names and comments
select count() from {d}.orders final
select count() from {d}.orders as o final where o.status = 'paid'
select `o`.`id` from `{d}`.`orders` as `o` where `o`.`status` = 'paid'
select "id" from "{d}"."orders" where "status" = 'new' -- where final = 0
select /* final */ id from {d}.orders where note = 'it''s'
select id as final from {d}.orders where amount > 300
select o.* except (tags, extra, place) from {d}.orders o where o.id = 12
select id from {d}.orders where status = 'paid' settings max_threads = 1
select id from {d}.orders where status = 'paid' settings max_block_size = 3
select id from {d}.orders where status = 'paid' settings optimize_move_to_prewhere = 1
select sum(amount) from {d}.orders settings max_threads = 8
select sum(cityHash64(id, status, amount)) from {d}.orders
