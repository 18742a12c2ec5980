-- One business day at the shop, Monday 2012-01-02, run once and inside one transaction.
-- Scripted: every row and every updated_at is written out, so the day is the same each time it is run.
-- Tracks, customers and prices are those of the catalogue; the sales are made up, as all sales of this sample are.

-- 08:40  A playlist is weeded out: "Daughter" (track 2206) leaves "Grunge" (playlist 16). One row is deleted.
delete from playlisttrack where id = 8684 and playlist = 16 and track = 2206;

-- 08:45  The second, empty "Audiobooks" (playlist 6, a duplicate of 4) is removed. One row is deleted.
delete from playlist
where id = 6
  and name = 'Audiobooks'
  and not exists (select 1 from playlisttrack where playlist = 6);

-- 09:12  Invoice 413, Puja Srivastava, Bangalore: two tracks.
insert into invoice
    (id, customer, billingaddress, billingcity, billingstate, billingcountry, billingpostalcode, invoicedate, total,
     updated_at)
values
    (413, 59, '3,Raj Bhavan Road', 'Bangalore', null, 'India', '560001', '2012-01-02 00:00:00.000', 1.98,
     '2012-01-02 09:12:31.204');
insert into invoiceline (id, invoice, track, unit_price, quantity, updated_at) values
    (2241, 413, 2254, 0.99, 1, '2012-01-02 09:12:31.204'),  -- Bohemian Rhapsody
    (2242, 413, 3503, 0.99, 1, '2012-01-02 09:12:31.204');  -- Koyaanisqatsi

-- 09:47  Invoice 414, Mark Philips, Edmonton: three tracks.
insert into invoice
    (id, customer, billingaddress, billingcity, billingstate, billingcountry, billingpostalcode, invoicedate, total,
     updated_at)
values
    (414, 14, '8210 111 ST NW', 'Edmonton', 'AB', 'Canada', 'T6G 2C7', '2012-01-02 00:00:00.000', 2.97,
     '2012-01-02 09:47:05.880');
insert into invoiceline (id, invoice, track, unit_price, quantity, updated_at) values
    (2243, 414, 160, 0.99, 1, '2012-01-02 09:47:05.880'),   -- Supernaut
    (2244, 414, 819, 0.99, 1, '2012-01-02 09:47:05.880'),   -- Talk About Love
    (2245, 414, 1209, 0.99, 1, '2012-01-02 09:47:05.880');  -- Lord of Light

-- 10:05  Three addresses are corrected. The invoices already written keep the address that they were sent to.
--        Customer 23: the postal code of Boston had lost its leading zero (2113).
update customer set postalcode = '02113', updated_at = '2012-01-02 10:05:12.000' where id = 23;
--        Customer 54: a blank after the name of the city ('Edinburgh ').
update customer set city = 'Edinburgh', updated_at = '2012-01-02 10:05:48.000' where id = 54;
--        Customer 55: a misspelt city ('Sidney').
update customer set city = 'Sydney', updated_at = '2012-01-02 10:06:20.000' where id = 55;

-- 10:30  Invoice 415, Mark Taylor, sent to the corrected address: one TV episode.
insert into invoice
    (id, customer, billingaddress, billingcity, billingstate, billingcountry, billingpostalcode, invoicedate, total,
     updated_at)
values
    (415, 55, '421 Bourke Street', 'Sydney', 'NSW', 'Australia', '2010', '2012-01-02 00:00:00.000', 1.99,
     '2012-01-02 10:30:44.517');
insert into invoiceline (id, invoice, track, unit_price, quantity, updated_at) values
    (2246, 415, 3250, 1.99, 1, '2012-01-02 10:30:44.517');  -- Pilot

-- 11:18  Invoice 416, Helena Holý, Prague: four tracks, two of "Nevermind" at the old price.
insert into invoice
    (id, customer, billingaddress, billingcity, billingstate, billingcountry, billingpostalcode, invoicedate, total,
     updated_at)
values
    (416, 6, 'Rilská 3174/6', 'Prague', null, 'Czech Republic', '14300', '2012-01-02 00:00:00.000', 4.96,
     '2012-01-02 11:18:09.032');
insert into invoiceline (id, invoice, track, unit_price, quantity, updated_at) values
    (2247, 416, 2004, 0.99, 1, '2012-01-02 11:18:09.032'),  -- In Bloom
    (2248, 416, 2005, 0.99, 1, '2012-01-02 11:18:09.032'),  -- Come As You Are
    (2249, 416, 2819, 1.99, 1, '2012-01-02 11:18:09.032'),  -- Battlestar Galactica: The Story So Far
    (2250, 416, 597, 0.99, 1, '2012-01-02 11:18:09.032');   -- Now's The Time

-- 12:00  A price change: the five best known tracks of "Nevermind" go from 0.99 to 1.29. Lines already sold keep
--        the price that was paid.
update track
set unit_price = 1.29, updated_at = '2012-01-02 12:00:00.000'
where id in (2003, 2004, 2005, 2007, 2008);

-- 13:26  Invoice 417, Camille Bernard, Paris: two tracks of "Nevermind" at the new price.
insert into invoice
    (id, customer, billingaddress, billingcity, billingstate, billingcountry, billingpostalcode, invoicedate, total,
     updated_at)
values
    (417, 39, '4, Rue Milton', 'Paris', null, 'France', '75009', '2012-01-02 00:00:00.000', 2.58,
     '2012-01-02 13:26:50.761');
insert into invoiceline (id, invoice, track, unit_price, quantity, updated_at) values
    (2251, 417, 2003, 1.29, 1, '2012-01-02 13:26:50.761'),  -- Smells Like Teen Spirit
    (2252, 417, 2007, 1.29, 1, '2012-01-02 13:26:50.761');  -- Lithium

-- 15:02  Invoice 418, Fernanda Ramos, Brasília: six tracks of Brazilian music.
insert into invoice
    (id, customer, billingaddress, billingcity, billingstate, billingcountry, billingpostalcode, invoicedate, total,
     updated_at)
values
    (418, 13, 'Qe 7 Bloco G', 'Brasília', 'DF', 'Brazil', '71020-677', '2012-01-02 00:00:00.000', 5.94,
     '2012-01-02 15:02:17.346');
insert into invoiceline (id, invoice, track, unit_price, quantity, updated_at) values
    (2253, 418, 215, 0.99, 1, '2012-01-02 15:02:17.346'),   -- Sozinho
    (2254, 418, 220, 0.99, 1, '2012-01-02 15:02:17.346'),   -- A Luz De Tieta
    (2255, 418, 391, 0.99, 1, '2012-01-02 15:02:17.346'),   -- Garota De Ipanema
    (2256, 418, 504, 0.99, 1, '2012-01-02 15:02:17.346'),   -- O Que É O Que É ?
    (2257, 418, 516, 0.99, 1, '2012-01-02 15:02:17.346'),   -- Voce e Linda
    (2258, 418, 523, 0.99, 1, '2012-01-02 15:02:17.346');   -- Sampa

-- 17:44  Invoice 419, John Gordon, Boston, sent to the corrected address: two TV episodes.
insert into invoice
    (id, customer, billingaddress, billingcity, billingstate, billingcountry, billingpostalcode, invoicedate, total,
     updated_at)
values
    (419, 23, '69 Salem Street', 'Boston', 'MA', 'USA', '02113', '2012-01-02 00:00:00.000', 3.98,
     '2012-01-02 17:44:58.129');
insert into invoiceline (id, invoice, track, unit_price, quantity, updated_at) values
    (2259, 419, 3165, 1.99, 1, '2012-01-02 17:44:58.129'),  -- The Brig
    (2260, 419, 3177, 1.99, 1, '2012-01-02 17:44:58.129');  -- Hot Girl

-- LATE   Invoice 420, Leonie Köhler, Stuttgart: sold on the evening of 2011-12-31 at a till that was cut off, and
--        written only today with the time of the sale. Its updated_at lies behind the newest one of the first sync
--        (23:00:00), but within the ten minutes that a sync reads again.
insert into invoice
    (id, customer, billingaddress, billingcity, billingstate, billingcountry, billingpostalcode, invoicedate, total,
     updated_at)
values
    (420, 2, 'Theodor-Heuss-Straße 34', 'Stuttgart', null, 'Germany', '70174', '2011-12-31 00:00:00.000', 0.99,
     '2011-12-31 22:55:00.000');
insert into invoiceline (id, invoice, track, unit_price, quantity, updated_at) values
    (2261, 420, 77, 0.99, 1, '2011-12-31 22:55:00.000');    -- Enter Sandman
