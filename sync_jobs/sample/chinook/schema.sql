-- The Chinook music shop as one SQLite database: eleven tables, named as their CSV files, with the CSVs' columns.
-- updated_at, last in every table, says when the row was last written: 'YYYY-MM-DD HH:MM:SS.SSS', UTC.
-- Foreign keys are checked at commit, so the tables can be loaded in any order within one transaction.

create table artist (
    id INTEGER not null primary key,
    name TEXT not null,
    updated_at DATETIME
);

create table album (
    id INTEGER not null primary key,
    artist INTEGER not null references artist (id) deferrable initially deferred,
    title TEXT not null,
    updated_at DATETIME
);

create table genre (
    id INTEGER not null primary key,
    name TEXT not null,
    updated_at DATETIME
);

create table mediatype (
    id INTEGER not null primary key,
    name TEXT not null,
    updated_at DATETIME
);

create table track (
    id INTEGER not null primary key,
    album INTEGER not null references album (id) deferrable initially deferred,
    name TEXT not null,
    bytes INTEGER not null,
    mediatype INTEGER not null references mediatype (id) deferrable initially deferred,
    unit_price DECIMAL(10,2) not null,
    composer TEXT,
    genre INTEGER not null references genre (id) deferrable initially deferred,
    milliseconds INTEGER not null,
    updated_at DATETIME
);

create table employee (
    id INTEGER not null primary key,
    city TEXT not null,
    fax TEXT,
    firstname TEXT not null,
    title TEXT not null,
    lastname TEXT not null,
    reports_to INTEGER references employee (id) deferrable initially deferred,
    birthdate DATETIME not null,
    phone TEXT,
    state TEXT,
    address TEXT not null,
    postalcode TEXT,
    hiredate DATETIME not null,
    country TEXT not null,
    email TEXT not null,
    updated_at DATETIME
);

create table customer (
    id INTEGER not null primary key,
    city TEXT not null,
    fax TEXT,
    firstname TEXT not null,
    lastname TEXT not null,
    company TEXT,
    phone TEXT,
    state TEXT,
    address TEXT not null,
    postalcode TEXT,
    support_rep INTEGER not null references employee (id) deferrable initially deferred,
    country TEXT not null,
    email TEXT not null,
    updated_at DATETIME
);

create table invoice (
    id INTEGER not null primary key,
    customer INTEGER not null references customer (id) deferrable initially deferred,
    billingpostalcode TEXT,
    invoicedate DATETIME not null,
    billingstate TEXT,
    billingaddress TEXT not null,
    billingcountry TEXT not null,
    total DECIMAL(10,2) not null,
    billingcity TEXT not null,
    updated_at DATETIME
);

create table invoiceline (
    id INTEGER not null primary key,
    track INTEGER not null references track (id) deferrable initially deferred,
    unit_price DECIMAL(10,2) not null,
    invoice INTEGER not null references invoice (id) deferrable initially deferred,
    quantity INTEGER not null,
    updated_at DATETIME
);

create table playlist (
    id INTEGER not null primary key,
    name TEXT not null,
    updated_at DATETIME
);

create table playlisttrack (
    id INTEGER not null primary key,
    track INTEGER not null references track (id) deferrable initially deferred,
    playlist INTEGER not null references playlist (id) deferrable initially deferred,
    updated_at DATETIME
);

-- A sync asks for the rows after a moment: each table can answer that from an index.
create index album_updated_at on album (updated_at);
create index artist_updated_at on artist (updated_at);
create index customer_updated_at on customer (updated_at);
create index employee_updated_at on employee (updated_at);
create index genre_updated_at on genre (updated_at);
create index invoice_updated_at on invoice (updated_at);
create index invoiceline_updated_at on invoiceline (updated_at);
create index mediatype_updated_at on mediatype (updated_at);
create index playlist_updated_at on playlist (updated_at);
create index playlisttrack_updated_at on playlisttrack (updated_at);
create index track_updated_at on track (updated_at);

create index album_artist on album (artist);
create index customer_support_rep on customer (support_rep);
create index employee_reports_to on employee (reports_to);
create index invoice_customer on invoice (customer);
create index invoiceline_invoice on invoiceline (invoice);
create index invoiceline_track on invoiceline (track);
create index playlisttrack_playlist on playlisttrack (playlist);
create index playlisttrack_track on playlisttrack (track);
create index track_album on track (album);
create index track_genre on track (genre);
create index track_mediatype on track (mediatype);
