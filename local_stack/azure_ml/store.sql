create table if not exists documents (kind text, name text, body text not null, seq integer not null, primary key (kind, name));
create table if not exists metrics (id integer primary key, run text, key text, value real, step integer, at integer);
create index if not exists metrics_by_run on metrics (run, key, id);
create table if not exists outbox (id integer primary key, event text not null)
