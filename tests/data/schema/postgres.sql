-- The tables of logweir in PostgreSQL, by `logweir schema postgres`. Running it again changes nothing.
-- seen: load is "copy_job": `logweir schema copy-job` has its tables
-- any: it declares no fields, so it has no columns: declare those that are asked for

CREATE SCHEMA IF NOT EXISTS "logweir";

-- A row for each object that was taken or set aside. state is 'loaded', 'set_aside' or 'given_up'; an operator
-- writes the last by hand, for an object that is never to be loaded. The loader locks this table, and asks it
-- within its transaction what has been loaded: nothing else keeps an object from being loaded twice.
CREATE TABLE IF NOT EXISTS "logweir"."logweir_ledger" (
    "stream" text NOT NULL,
    "object" text NOT NULL,
    "received_hour" timestamptz NOT NULL,
    "state" text NOT NULL,
    "load_id" text NOT NULL,
    "events" bigint NOT NULL,
    "bytes" bigint NOT NULL,
    "error" text,
    "changed_at" timestamptz NOT NULL
);

-- What became of the lines, by load, stream and hour of received time: lines = loaded + duplicates + conflicts.
CREATE TABLE IF NOT EXISTS "logweir"."logweir_loads" (
    "load_id" text NOT NULL,
    "stream" text NOT NULL,
    "received_hour" timestamptz NOT NULL,
    "lines" bigint NOT NULL,
    "loaded" bigint NOT NULL,
    "duplicates" bigint NOT NULL,
    "conflicts" bigint NOT NULL,
    "late" bigint NOT NULL,
    "loaded_at" timestamptz NOT NULL
);

-- How far each stream is whole: everything that was received before complete_through is loaded, or set aside.
CREATE TABLE IF NOT EXISTS "logweir"."load_status" (
    "stream" text NOT NULL,
    "complete_through" timestamptz,
    "late_rows" bigint,
    "set_aside_objects" bigint,
    "set_aside_events" bigint,
    "held_back_by" text,
    "last_load" timestamptz,
    "last_load_id" text,
    "checked_at" timestamptz
);
-- The loader asks for objects by name. The index is not unique: the lock is what keeps two loaders apart.
CREATE INDEX IF NOT EXISTS "logweir_ledger.object" ON "logweir"."logweir_ledger" ("object");

-- heard: its events, each once.
CREATE TABLE IF NOT EXISTS "logweir"."heard" (
    "event_id" text NOT NULL,
    "event_time" timestamptz NOT NULL,
    "received_at" timestamptz NOT NULL,
    "batch_id" text,
    "client_time" timestamptz,
    "heard_at" timestamptz,
    "ad_id" text NOT NULL,
    "user" text,
    "order" bigint,
    "volume" double precision,
    "foreground" boolean,
    "install_date" date,
    "session" uuid,
    "price" numeric(18, 4),
    "device" jsonb,
    "extra" jsonb
);
-- For the loader, which asks whether an event is there. Not unique: equal ids with other content are set aside, and
-- beyond the dedupe window an id may come again.
CREATE INDEX IF NOT EXISTS "heard.event_id" ON "logweir"."heard" ("event_id");
-- Rows come in the order of their times, nearly: a BRIN index tells the blocks of a time range at next to no size.
CREATE INDEX IF NOT EXISTS "heard.received" ON "logweir"."heard" USING brin ("received_at");
-- For analysts, who ask by the time of the event.
CREATE INDEX IF NOT EXISTS "heard.time" ON "logweir"."heard" USING brin ("event_time");
-- What is copied from the objects, before it is known what is new; empty between two loads.
CREATE TABLE IF NOT EXISTS "logweir"."heard_staging" (
    "event_id" text,
    "event_time" timestamptz,
    "received_at" timestamptz,
    "batch_id" text,
    "client_time" timestamptz,
    "heard_at" timestamptz,
    "ad_id" text,
    "user" text,
    "order" bigint,
    "volume" double precision,
    "foreground" boolean,
    "install_date" date,
    "session" uuid,
    "price" numeric(18, 4),
    "device" jsonb,
    "extra" jsonb
);
-- What bears the id of another event: set aside, for somebody to look at.
CREATE TABLE IF NOT EXISTS "logweir"."heard_conflicts" (
    "event_id" text,
    "event_time" timestamptz,
    "received_at" timestamptz,
    "batch_id" text,
    "client_time" timestamptz,
    "heard_at" timestamptz,
    "ad_id" text,
    "user" text,
    "order" bigint,
    "volume" double precision,
    "foreground" boolean,
    "install_date" date,
    "session" uuid,
    "price" numeric(18, 4),
    "device" jsonb,
    "extra" jsonb,
    "load_id" text NOT NULL,
    "found_at" timestamptz NOT NULL
);

-- order: its events, each once.
CREATE TABLE IF NOT EXISTS "logweir"."order" (
    "event_id" text NOT NULL,
    "event_time" timestamptz NOT NULL,
    "received_at" timestamptz NOT NULL,
    "batch_id" text,
    "client_time" timestamptz,
    "select" text NOT NULL
);
-- For the loader, which asks whether an event is there. Not unique: equal ids with other content are set aside, and
-- beyond the dedupe window an id may come again.
CREATE INDEX IF NOT EXISTS "order.event_id" ON "logweir"."order" ("event_id");
-- Rows come in the order of their times, nearly: a BRIN index tells the blocks of a time range at next to no size.
CREATE INDEX IF NOT EXISTS "order.received" ON "logweir"."order" USING brin ("received_at");
-- For analysts, who ask by the time of the event.
CREATE INDEX IF NOT EXISTS "order.time" ON "logweir"."order" USING brin ("event_time");
-- What is copied from the objects, before it is known what is new; empty between two loads.
CREATE TABLE IF NOT EXISTS "logweir"."order_staging" (
    "event_id" text,
    "event_time" timestamptz,
    "received_at" timestamptz,
    "batch_id" text,
    "client_time" timestamptz,
    "select" text
);
-- What bears the id of another event: set aside, for somebody to look at.
CREATE TABLE IF NOT EXISTS "logweir"."order_conflicts" (
    "event_id" text,
    "event_time" timestamptz,
    "received_at" timestamptz,
    "batch_id" text,
    "client_time" timestamptz,
    "select" text,
    "load_id" text NOT NULL,
    "found_at" timestamptz NOT NULL
);

-- Figures by day and hour of the analysts' clock: see [rollups].
CREATE TABLE IF NOT EXISTS "logweir"."daily_active" (
  "stream" text NOT NULL,
  "day" date NOT NULL,
  "events" bigint NOT NULL,
  "devices" bigint NOT NULL,
  "is_complete" boolean NOT NULL,
  "is_final" boolean NOT NULL,
  "counted_at" timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS "daily_active_by_day" ON "logweir"."daily_active" ("stream", "day");

CREATE TABLE IF NOT EXISTS "logweir"."hourly_active" (
  "stream" text NOT NULL,
  "hour" timestamp NOT NULL,
  "events" bigint NOT NULL,
  "devices" bigint NOT NULL,
  "is_complete" boolean NOT NULL,
  "is_final" boolean NOT NULL,
  "counted_at" timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS "hourly_active_by_hour" ON "logweir"."hourly_active" ("stream", "hour");

CREATE TABLE IF NOT EXISTS "logweir"."daily_counts" (
  "stream" text NOT NULL,
  "day" date NOT NULL,
  "dimension" text NOT NULL,
  "value" text,
  "events" bigint NOT NULL,
  "devices" bigint NOT NULL,
  "is_complete" boolean NOT NULL,
  "is_final" boolean NOT NULL,
  "counted_at" timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS "daily_counts_by_day" ON "logweir"."daily_counts" ("stream", "day");

CREATE TABLE IF NOT EXISTS "logweir"."hourly_counts" (
  "stream" text NOT NULL,
  "hour" timestamp NOT NULL,
  "dimension" text NOT NULL,
  "value" text,
  "events" bigint NOT NULL,
  "devices" bigint NOT NULL,
  "is_complete" boolean NOT NULL,
  "is_final" boolean NOT NULL,
  "counted_at" timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS "hourly_counts_by_hour" ON "logweir"."hourly_counts" ("stream", "hour");

CREATE TABLE IF NOT EXISTS "logweir"."rollup_status" (
  "stream" text NOT NULL,
  "definition" text NOT NULL,
  "complete_through" timestamptz,
  "last_load_id" text,
  "counted_from" timestamp,
  "final_before" timestamp,
  "counted_at" timestamptz,
  "restated_at" timestamptz
);


-- Who is who. Give each role to users: GRANT "logweir_analyst" TO somebody.
--   writer   an operator: corrects rows, erases a device's, gives an object up in the ledger
--   loader   what `logweir load` logs in as: adds events, and never changes or deletes one
--   analyst  whoever asks: people, Tableau; reads events, figures and how far they are whole
DO $$ BEGIN CREATE ROLE "logweir_writer" NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE "logweir_loader" NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
DO $$ BEGIN CREATE ROLE "logweir_analyst" NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
GRANT USAGE ON SCHEMA "logweir" TO "logweir_writer";
GRANT USAGE ON SCHEMA "logweir" TO "logweir_loader";
GRANT USAGE ON SCHEMA "logweir" TO "logweir_analyst";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."logweir_ledger", "logweir"."logweir_loads", "logweir"."load_status", "logweir"."daily_active", "logweir"."hourly_active", "logweir"."daily_counts", "logweir"."hourly_counts", "logweir"."rollup_status" TO "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."heard", "logweir"."order" TO "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."heard_staging", "logweir"."order_staging" TO "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."heard_conflicts", "logweir"."order_conflicts" TO "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."logweir_ledger", "logweir"."logweir_loads", "logweir"."load_status", "logweir"."daily_active", "logweir"."hourly_active", "logweir"."daily_counts", "logweir"."hourly_counts", "logweir"."rollup_status" TO "logweir_loader";
GRANT SELECT, INSERT ON TABLE "logweir"."heard", "logweir"."order" TO "logweir_loader";
GRANT SELECT, INSERT, DELETE ON TABLE "logweir"."heard_staging", "logweir"."order_staging" TO "logweir_loader";
GRANT SELECT, INSERT ON TABLE "logweir"."heard_conflicts", "logweir"."order_conflicts" TO "logweir_loader";
GRANT SELECT ON TABLE "logweir"."logweir_ledger", "logweir"."logweir_loads", "logweir"."load_status", "logweir"."daily_active", "logweir"."hourly_active", "logweir"."daily_counts", "logweir"."hourly_counts", "logweir"."rollup_status" TO "logweir_analyst";
GRANT SELECT ON TABLE "logweir"."heard", "logweir"."order" TO "logweir_analyst";
GRANT SELECT ON TABLE "logweir"."heard_conflicts", "logweir"."order_conflicts" TO "logweir_analyst";

-- To erase one device, as a writer: put its id for :'device' (psql: -v device=…) and run these as one transaction.
-- Where a field has private = "hash", the id is its hash: HMAC-SHA-256 under privacy.hash_key, in hexadecimal.
-- Copies that come later are loaded like any other event: run it again once warehouse.dedupe_window has passed.
-- Figures by day and hour hold counts only, and objects leave the bucket by its lifecycle.
--   BEGIN;
--   DELETE FROM "logweir"."heard" WHERE "user" = :'device';
--   DELETE FROM "logweir"."heard_staging" WHERE "user" = :'device';
--   DELETE FROM "logweir"."heard_conflicts" WHERE "user" = :'device';
--   <column> of order: rollups.streams.order.device would tell which it is.
--   DELETE FROM "logweir"."order" WHERE <column> = :'device';
--   DELETE FROM "logweir"."order_staging" WHERE <column> = :'device';
--   DELETE FROM "logweir"."order_conflicts" WHERE <column> = :'device';
--   COMMIT;
--   VACUUM "logweir"."heard";
--   VACUUM "logweir"."heard_staging";
--   VACUUM "logweir"."heard_conflicts";
--   VACUUM "logweir"."order";
--   VACUUM "logweir"."order_staging";
--   VACUUM "logweir"."order_conflicts";
