-- The tables of logweir in Amazon Redshift, by `logweir schema redshift`. Running it again changes nothing.
-- seen: load is "copy_job": `logweir schema copy-job` has its tables
-- any: it declares no fields, so it has no columns: declare those that are asked for

-- Encodings: AZ64 for numbers and times; ZSTD for strings, which can be widened with it, and for all else; RAW for
-- the sort key, whose blocks are skipped by their first and last value and not decoded to be skipped.

CREATE SCHEMA IF NOT EXISTS "logweir";

-- A row for each object that was taken or set aside. state is 'loaded', 'set_aside' or 'given_up'; an operator
-- writes the last by hand, for an object that is never to be loaded. The loader locks this table, and asks it
-- within its transaction what has been loaded: nothing else keeps an object from being loaded twice.
CREATE TABLE IF NOT EXISTS "logweir"."logweir_ledger" (
    "stream" VARCHAR(63) ENCODE ZSTD NOT NULL,
    "object" VARCHAR(1024) ENCODE ZSTD NOT NULL,
    "received_hour" TIMESTAMP ENCODE RAW NOT NULL,
    "state" VARCHAR(16) ENCODE ZSTD NOT NULL,
    "load_id" VARCHAR(26) ENCODE ZSTD NOT NULL,
    "events" BIGINT ENCODE AZ64 NOT NULL,
    "bytes" BIGINT ENCODE AZ64 NOT NULL,
    "error" VARCHAR(1024) ENCODE ZSTD,
    "changed_at" TIMESTAMP ENCODE AZ64 NOT NULL
)
DISTSTYLE AUTO
COMPOUND SORTKEY ("received_hour");

-- What became of the lines, by load, stream and hour of received time: lines = loaded + duplicates + conflicts.
CREATE TABLE IF NOT EXISTS "logweir"."logweir_loads" (
    "load_id" VARCHAR(26) ENCODE ZSTD NOT NULL,
    "stream" VARCHAR(63) ENCODE ZSTD NOT NULL,
    "received_hour" TIMESTAMP ENCODE RAW NOT NULL,
    "lines" BIGINT ENCODE AZ64 NOT NULL,
    "loaded" BIGINT ENCODE AZ64 NOT NULL,
    "duplicates" BIGINT ENCODE AZ64 NOT NULL,
    "conflicts" BIGINT ENCODE AZ64 NOT NULL,
    "late" BIGINT ENCODE AZ64 NOT NULL,
    "loaded_at" TIMESTAMP ENCODE AZ64 NOT NULL
)
DISTSTYLE AUTO
COMPOUND SORTKEY ("received_hour");

-- How far each stream is whole: everything that was received before complete_through is loaded, or set aside.
CREATE TABLE IF NOT EXISTS "logweir"."load_status" (
    "stream" VARCHAR(63) ENCODE ZSTD NOT NULL,
    "complete_through" TIMESTAMP ENCODE AZ64,
    "late_rows" BIGINT ENCODE AZ64,
    "set_aside_objects" BIGINT ENCODE AZ64,
    "set_aside_events" BIGINT ENCODE AZ64,
    "held_back_by" VARCHAR(256) ENCODE ZSTD,
    "last_load" TIMESTAMP ENCODE AZ64,
    "last_load_id" VARCHAR(26) ENCODE ZSTD,
    "checked_at" TIMESTAMP ENCODE AZ64
)
DISTSTYLE AUTO;

-- heard: its events, each once.
-- DISTKEY event_id: the loader joins what is staged to the table by it, and copies of an event meet on one slice; ids are
-- as good as random, so slices are even. SORTKEY event_time: analysts ask by it; received_at runs along with it, so the
-- loader's window skips blocks too.
CREATE TABLE IF NOT EXISTS "logweir"."heard" (
    "event_id" VARCHAR(128) ENCODE ZSTD NOT NULL,
    "event_time" TIMESTAMP ENCODE RAW NOT NULL,
    "received_at" TIMESTAMP ENCODE AZ64 NOT NULL,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "heard_at" TIMESTAMP ENCODE AZ64,
    "ad_id" VARCHAR(64) ENCODE ZSTD NOT NULL,
    "user" VARCHAR(64) ENCODE ZSTD,
    "order" BIGINT ENCODE AZ64,
    "volume" DOUBLE PRECISION ENCODE ZSTD,
    "foreground" BOOLEAN ENCODE ZSTD,
    "install_date" DATE ENCODE AZ64,
    "session" CHAR(36) ENCODE ZSTD,
    "price" DECIMAL(18, 4) ENCODE AZ64,
    "device" SUPER ENCODE ZSTD,
    "extra" SUPER ENCODE ZSTD
)
DISTSTYLE KEY DISTKEY ("event_id")
COMPOUND SORTKEY ("event_time");
-- What is copied from the objects, before it is known what is new; empty between two loads.
CREATE TABLE IF NOT EXISTS "logweir"."heard_staging" (
    "event_id" VARCHAR(128) ENCODE ZSTD,
    "event_time" TIMESTAMP ENCODE AZ64,
    "received_at" TIMESTAMP ENCODE AZ64,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "heard_at" TIMESTAMP ENCODE AZ64,
    "ad_id" VARCHAR(64) ENCODE ZSTD,
    "user" VARCHAR(64) ENCODE ZSTD,
    "order" BIGINT ENCODE AZ64,
    "volume" DOUBLE PRECISION ENCODE ZSTD,
    "foreground" BOOLEAN ENCODE ZSTD,
    "install_date" DATE ENCODE AZ64,
    "session" CHAR(36) ENCODE ZSTD,
    "price" DECIMAL(18, 4) ENCODE AZ64,
    "device" SUPER ENCODE ZSTD,
    "extra" SUPER ENCODE ZSTD
)
DISTSTYLE KEY DISTKEY ("event_id");
-- What bears the id of another event: set aside, for somebody to look at.
CREATE TABLE IF NOT EXISTS "logweir"."heard_conflicts" (
    "event_id" VARCHAR(128) ENCODE ZSTD,
    "event_time" TIMESTAMP ENCODE AZ64,
    "received_at" TIMESTAMP ENCODE AZ64,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "heard_at" TIMESTAMP ENCODE AZ64,
    "ad_id" VARCHAR(64) ENCODE ZSTD,
    "user" VARCHAR(64) ENCODE ZSTD,
    "order" BIGINT ENCODE AZ64,
    "volume" DOUBLE PRECISION ENCODE ZSTD,
    "foreground" BOOLEAN ENCODE ZSTD,
    "install_date" DATE ENCODE AZ64,
    "session" CHAR(36) ENCODE ZSTD,
    "price" DECIMAL(18, 4) ENCODE AZ64,
    "device" SUPER ENCODE ZSTD,
    "extra" SUPER ENCODE ZSTD,
    "load_id" VARCHAR(26) ENCODE ZSTD NOT NULL,
    "found_at" TIMESTAMP ENCODE AZ64 NOT NULL
)
DISTSTYLE KEY DISTKEY ("event_id");

-- order: its events, each once.
-- DISTKEY event_id: the loader joins what is staged to the table by it, and copies of an event meet on one slice; ids are
-- as good as random, so slices are even. SORTKEY event_time: analysts ask by it; received_at runs along with it, so the
-- loader's window skips blocks too.
CREATE TABLE IF NOT EXISTS "logweir"."order" (
    "event_id" VARCHAR(128) ENCODE ZSTD NOT NULL,
    "event_time" TIMESTAMP ENCODE RAW NOT NULL,
    "received_at" TIMESTAMP ENCODE AZ64 NOT NULL,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "select" VARCHAR(256) ENCODE ZSTD NOT NULL
)
DISTSTYLE KEY DISTKEY ("event_id")
COMPOUND SORTKEY ("event_time");
-- What is copied from the objects, before it is known what is new; empty between two loads.
CREATE TABLE IF NOT EXISTS "logweir"."order_staging" (
    "event_id" VARCHAR(128) ENCODE ZSTD,
    "event_time" TIMESTAMP ENCODE AZ64,
    "received_at" TIMESTAMP ENCODE AZ64,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "select" VARCHAR(256) ENCODE ZSTD
)
DISTSTYLE KEY DISTKEY ("event_id");
-- What bears the id of another event: set aside, for somebody to look at.
CREATE TABLE IF NOT EXISTS "logweir"."order_conflicts" (
    "event_id" VARCHAR(128) ENCODE ZSTD,
    "event_time" TIMESTAMP ENCODE AZ64,
    "received_at" TIMESTAMP ENCODE AZ64,
    "batch_id" VARCHAR(128) ENCODE ZSTD,
    "client_time" TIMESTAMP ENCODE AZ64,
    "select" VARCHAR(256) ENCODE ZSTD,
    "load_id" VARCHAR(26) ENCODE ZSTD NOT NULL,
    "found_at" TIMESTAMP ENCODE AZ64 NOT NULL
)
DISTSTYLE KEY DISTKEY ("event_id");

-- Figures by day and hour of the analysts' clock: see [rollups].
CREATE TABLE IF NOT EXISTS "logweir"."daily_active" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "day" DATE NOT NULL ENCODE RAW,
  "events" BIGINT NOT NULL ENCODE AZ64,
  "devices" BIGINT NOT NULL ENCODE AZ64,
  "is_complete" BOOLEAN NOT NULL ENCODE RAW,
  "is_final" BOOLEAN NOT NULL ENCODE RAW,
  "counted_at" TIMESTAMP NOT NULL ENCODE AZ64
) DISTSTYLE AUTO SORTKEY ("day", "stream");

CREATE TABLE IF NOT EXISTS "logweir"."hourly_active" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "hour" TIMESTAMP NOT NULL ENCODE RAW,
  "events" BIGINT NOT NULL ENCODE AZ64,
  "devices" BIGINT NOT NULL ENCODE AZ64,
  "is_complete" BOOLEAN NOT NULL ENCODE RAW,
  "is_final" BOOLEAN NOT NULL ENCODE RAW,
  "counted_at" TIMESTAMP NOT NULL ENCODE AZ64
) DISTSTYLE AUTO SORTKEY ("hour", "stream");

CREATE TABLE IF NOT EXISTS "logweir"."daily_counts" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "day" DATE NOT NULL ENCODE RAW,
  "dimension" VARCHAR(127) NOT NULL ENCODE ZSTD,
  "value" VARCHAR(256) ENCODE ZSTD,
  "events" BIGINT NOT NULL ENCODE AZ64,
  "devices" BIGINT NOT NULL ENCODE AZ64,
  "is_complete" BOOLEAN NOT NULL ENCODE RAW,
  "is_final" BOOLEAN NOT NULL ENCODE RAW,
  "counted_at" TIMESTAMP NOT NULL ENCODE AZ64
) DISTSTYLE AUTO SORTKEY ("day", "stream");

CREATE TABLE IF NOT EXISTS "logweir"."hourly_counts" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "hour" TIMESTAMP NOT NULL ENCODE RAW,
  "dimension" VARCHAR(127) NOT NULL ENCODE ZSTD,
  "value" VARCHAR(256) ENCODE ZSTD,
  "events" BIGINT NOT NULL ENCODE AZ64,
  "devices" BIGINT NOT NULL ENCODE AZ64,
  "is_complete" BOOLEAN NOT NULL ENCODE RAW,
  "is_final" BOOLEAN NOT NULL ENCODE RAW,
  "counted_at" TIMESTAMP NOT NULL ENCODE AZ64
) DISTSTYLE AUTO SORTKEY ("hour", "stream");

CREATE TABLE IF NOT EXISTS "logweir"."rollup_status" (
  "stream" VARCHAR(63) NOT NULL ENCODE ZSTD,
  "definition" VARCHAR(4096) NOT NULL ENCODE ZSTD,
  "complete_through" TIMESTAMP ENCODE AZ64,
  "last_load_id" VARCHAR(26) ENCODE ZSTD,
  "counted_from" TIMESTAMP ENCODE AZ64,
  "final_before" TIMESTAMP ENCODE AZ64,
  "counted_at" TIMESTAMP ENCODE AZ64,
  "restated_at" TIMESTAMP ENCODE AZ64
) DISTSTYLE ALL;


-- Who is who. Give each role to users: GRANT ROLE "logweir_analyst" TO somebody.
--   writer   an operator: corrects rows, erases a device's, gives an object up in the ledger
--   loader   what `logweir load` logs in as: adds events, and never changes or deletes one
--   analyst  whoever asks: people, Tableau; reads events, figures and how far they are whole
-- Redshift creates no role that there is: uncomment these the first time.
-- CREATE ROLE "logweir_writer";
-- CREATE ROLE "logweir_loader";
-- CREATE ROLE "logweir_analyst";
GRANT USAGE ON SCHEMA "logweir" TO ROLE "logweir_writer";
GRANT USAGE ON SCHEMA "logweir" TO ROLE "logweir_loader";
GRANT USAGE ON SCHEMA "logweir" TO ROLE "logweir_analyst";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."logweir_ledger", "logweir"."logweir_loads", "logweir"."load_status", "logweir"."daily_active", "logweir"."hourly_active", "logweir"."daily_counts", "logweir"."hourly_counts", "logweir"."rollup_status" TO ROLE "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."heard", "logweir"."order" TO ROLE "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."heard_staging", "logweir"."order_staging" TO ROLE "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."heard_conflicts", "logweir"."order_conflicts" TO ROLE "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."logweir_ledger", "logweir"."logweir_loads", "logweir"."load_status", "logweir"."daily_active", "logweir"."hourly_active", "logweir"."daily_counts", "logweir"."hourly_counts", "logweir"."rollup_status" TO ROLE "logweir_loader";
GRANT SELECT, INSERT ON TABLE "logweir"."heard", "logweir"."order" TO ROLE "logweir_loader";
GRANT SELECT, INSERT, DELETE ON TABLE "logweir"."heard_staging", "logweir"."order_staging" TO ROLE "logweir_loader";
GRANT SELECT, INSERT ON TABLE "logweir"."heard_conflicts", "logweir"."order_conflicts" TO ROLE "logweir_loader";
GRANT SELECT ON TABLE "logweir"."logweir_ledger", "logweir"."logweir_loads", "logweir"."load_status", "logweir"."daily_active", "logweir"."hourly_active", "logweir"."daily_counts", "logweir"."hourly_counts", "logweir"."rollup_status" TO ROLE "logweir_analyst";
GRANT SELECT ON TABLE "logweir"."heard", "logweir"."order" TO ROLE "logweir_analyst";
GRANT SELECT ON TABLE "logweir"."heard_conflicts", "logweir"."order_conflicts" TO ROLE "logweir_analyst";

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
--   VACUUM DELETE ONLY "logweir"."heard";
--   VACUUM DELETE ONLY "logweir"."heard_staging";
--   VACUUM DELETE ONLY "logweir"."heard_conflicts";
--   VACUUM DELETE ONLY "logweir"."order";
--   VACUUM DELETE ONLY "logweir"."order_staging";
--   VACUUM DELETE ONLY "logweir"."order_conflicts";
