-- A schema made to be hard for a backup: run as a superuser in an empty database `shop`.
CREATE ROLE shop_owner LOGIN PASSWORD 'x';
CREATE ROLE reader;
CREATE ROLE "odd ""role""" LOGIN;
GRANT reader TO shop_owner;
ALTER DATABASE shop OWNER TO shop_owner;
ALTER DATABASE shop CONNECTION LIMIT 77;
ALTER DATABASE shop SET work_mem TO '7MB';
ALTER DATABASE shop SET search_path TO "$user", public, "odd schema";
ALTER DATABASE shop SET statement_timeout TO '90s';
ALTER DATABASE shop SET "shop.flavour" TO 'it''s = odd, "really"';
ALTER ROLE "odd ""role""" IN DATABASE shop SET DateStyle TO 'German, DMY';
REVOKE CONNECT ON DATABASE shop FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE shop TO reader WITH GRANT OPTION;
COMMENT ON DATABASE shop IS 'it''s the shop';
CREATE DATABASE beside;
CREATE EXTENSION pg_trgm;
CREATE EXTENSION hstore;
CREATE EXTENSION pgcrypto;
CREATE SCHEMA "odd schema" AUTHORIZATION shop_owner;
GRANT USAGE ON SCHEMA "odd schema" TO reader;
CREATE COLLATION "odd schema".german (provider = icu, locale = 'de-u-co-phonebk');
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0) DEFAULT 1;
CREATE TABLE people (
  id bigint GENERATED ALWAYS AS IDENTITY (START WITH 1000 INCREMENT BY 7) PRIMARY KEY,
  name text COLLATE "odd schema".german NOT NULL,
  mood mood DEFAULT 'ok',
  age positive,
  tags hstore,
  shout text GENERATED ALWAYS AS (upper(name)) STORED,
  born timestamptz DEFAULT '2001-02-03 04:05:06.789+02',
  share double precision,
  state varchar(10) CHECK (state IN ('new', 'old')),
  CONSTRAINT name_once UNIQUE (name) DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON COLUMN people.name IS 'what they are called';
CREATE INDEX people_by_name ON people USING gin (name gin_trgm_ops);
CREATE INDEX people_partial ON people (age) WHERE age > 10;
INSERT INTO people (name, mood, age, tags, share, state)
SELECT 'Müller ' || n, (ARRAY['sad', 'ok', 'happy'])[1 + n % 3]::mood, 1 + n % 90,
       hstore('k' || n, 'v'), n / 3.0, CASE WHEN n % 2 = 0 THEN 'new' ELSE 'old' END
FROM generate_series(1, 2000) n;
CREATE TABLE events (at date NOT NULL, what jsonb, who bigint REFERENCES people (id))
  PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT;
INSERT INTO events SELECT date '2025-06-01' + n, jsonb_build_object('n', n), 1000 + 7 * (n % 50)
FROM generate_series(1, 900) n;
CREATE TABLE parent (a int);
CREATE TABLE child (b int) INHERITS (parent);
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (2, 3);
CREATE UNLOGGED TABLE scratch (a int);
INSERT INTO scratch VALUES (1);
CREATE MATERIALIZED VIEW moods AS SELECT mood, count(*) FROM people GROUP BY mood;
CREATE VIEW adults WITH (security_barrier) AS SELECT * FROM people WHERE age >= 18;
GRANT SELECT ON adults TO reader;
GRANT SELECT (id, name) ON people TO reader;
CREATE SEQUENCE ticket CYCLE MAXVALUE 500 OWNED BY people.age;
SELECT nextval('ticket') FROM generate_series(1, 41);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public
  AS $$ BEGIN NEW.born := NEW.born; RETURN NEW; END $$;
CREATE TRIGGER touched BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER silent BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE people DISABLE TRIGGER silent;
CREATE PROCEDURE tidy() LANGUAGE sql AS 'DELETE FROM scratch';
CREATE FUNCTION noted() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION noted();
ALTER TABLE people ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_new ON people FOR SELECT TO reader USING (state = 'new');
CREATE PUBLICATION news FOR TABLE people, parent;
CREATE STATISTICS people_stats (dependencies) ON age, state FROM people;
CREATE RULE no_delete AS ON DELETE TO parent DO INSTEAD NOTHING;
SELECT lo_from_bytea(424242, decode(repeat('00ff17', 3000), 'hex'));
CREATE TABLE pictures (id int PRIMARY KEY, picture oid);
INSERT INTO pictures VALUES (1, 424242);
CREATE TABLE schema_migrations (version text PRIMARY KEY);
INSERT INTO schema_migrations VALUES ('0001');
ALTER TABLE people OWNER TO shop_owner;
ALTER DEFAULT PRIVILEGES FOR ROLE shop_owner IN SCHEMA public GRANT SELECT ON TABLES TO reader;
