CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);;
CREATE TABLE orders (id bigint PRIMARY KEY, what text, at timestamptz DEFAULT '2026-01-01', paid numeric(10, 2));;
INSERT INTO orders (id, what, paid) SELECT n, md5(n::text), n / 7.0 FROM generate_series(1, :rows) n;;
CREATE INDEX orders_by_what ON orders (what);;
CREATE FUNCTION total() RETURNS numeric LANGUAGE sql STABLE AS 'SELECT sum(paid) FROM orders';;
CREATE SCHEMA archive;;
CREATE TABLE archive.orders AS SELECT * FROM orders WHERE id % 10 = 0;;
CREATE DATABASE audit;;
CREATE ROLE reader;;
GRANT USAGE ON SCHEMA archive TO reader;;
GRANT SELECT ON orders, archive.orders TO reader;;
ALTER ROLE reader IN DATABASE shop SET statement_timeout = '5s';;
ALTER DATABASE shop SET work_mem = '8MB'
