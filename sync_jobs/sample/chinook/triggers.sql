-- Runs once, after the CSVs are loaded: stamps every row, then keeps updated_at by triggers.

-- The catalogue and the sales were loaded on the last evening of 2011. The dates of the CSVs
-- ('2007-01-01T00:00:00Z') take the form of updated_at: one form of time in the whole database.
update album set updated_at = '2011-12-31 23:00:00.000';
update artist set updated_at = '2011-12-31 23:00:00.000';
update customer set updated_at = '2011-12-31 23:00:00.000';
update employee set
    updated_at = '2011-12-31 23:00:00.000',
    birthdate = strftime('%Y-%m-%d %H:%M:%f', birthdate),
    hiredate = strftime('%Y-%m-%d %H:%M:%f', hiredate);
update genre set updated_at = '2011-12-31 23:00:00.000';
update invoice set
    updated_at = '2011-12-31 23:00:00.000',
    invoicedate = strftime('%Y-%m-%d %H:%M:%f', invoicedate);
update invoiceline set updated_at = '2011-12-31 23:00:00.000';
update mediatype set updated_at = '2011-12-31 23:00:00.000';
update playlist set updated_at = '2011-12-31 23:00:00.000';
update playlisttrack set updated_at = '2011-12-31 23:00:00.000';
update track set updated_at = '2011-12-31 23:00:00.000';

-- A writer who says nothing about updated_at gets the time of the write; a value that is given is kept.

create trigger album_inserted after insert on album when new.updated_at is null
begin
    update album set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger album_updated after update on album when new.updated_at is old.updated_at
begin
    update album set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger artist_inserted after insert on artist when new.updated_at is null
begin
    update artist set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger artist_updated after update on artist when new.updated_at is old.updated_at
begin
    update artist set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger customer_inserted after insert on customer when new.updated_at is null
begin
    update customer set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger customer_updated after update on customer when new.updated_at is old.updated_at
begin
    update customer set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger employee_inserted after insert on employee when new.updated_at is null
begin
    update employee set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger employee_updated after update on employee when new.updated_at is old.updated_at
begin
    update employee set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger genre_inserted after insert on genre when new.updated_at is null
begin
    update genre set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger genre_updated after update on genre when new.updated_at is old.updated_at
begin
    update genre set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger invoice_inserted after insert on invoice when new.updated_at is null
begin
    update invoice set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger invoice_updated after update on invoice when new.updated_at is old.updated_at
begin
    update invoice set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger invoiceline_inserted after insert on invoiceline when new.updated_at is null
begin
    update invoiceline set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger invoiceline_updated after update on invoiceline when new.updated_at is old.updated_at
begin
    update invoiceline set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger mediatype_inserted after insert on mediatype when new.updated_at is null
begin
    update mediatype set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger mediatype_updated after update on mediatype when new.updated_at is old.updated_at
begin
    update mediatype set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger playlist_inserted after insert on playlist when new.updated_at is null
begin
    update playlist set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger playlist_updated after update on playlist when new.updated_at is old.updated_at
begin
    update playlist set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger playlisttrack_inserted after insert on playlisttrack when new.updated_at is null
begin
    update playlisttrack set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger playlisttrack_updated after update on playlisttrack when new.updated_at is old.updated_at
begin
    update playlisttrack set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;

create trigger track_inserted after insert on track when new.updated_at is null
begin
    update track set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
create trigger track_updated after update on track when new.updated_at is old.updated_at
begin
    update track set updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') where id = new.id;
end;
