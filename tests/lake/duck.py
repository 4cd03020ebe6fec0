"""Runs generated SQL in DuckDB, and prints what its views answer as JSON."""

import json
import sys

import duckdb

con = duckdb.connect()
# What the session's zone is must not matter.
con.execute("SET TimeZone = 'America/New_York'")
con.execute(open(sys.argv[1], encoding="utf-8").read())


def rows(sql):
    found = con.execute(sql)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row)) for row in found.fetchall()]


print(json.dumps({
    "stored": con.execute('SELECT count(*) FROM logweir."heard_objects"').fetchone()[0],
    "unparsed": con.execute("""SELECT count(*) FROM logweir."class" WHERE event_time <> received_at""").fetchone()[0],
    "class": con.execute('SELECT count(*) FROM logweir."class"').fetchone()[0],
    "pruned": con.execute("""SELECT count(*) FROM logweir."heard_objects" WHERE dt = '1999-01-01'""").fetchone()[0],
    "events": rows("""
        SELECT event_id, epoch_ms(event_time) AS event_time, epoch_ms(heard_at) AS heard_at, batch_id, device_id, "user",
            "order", "group", "select", CAST("table" AS VARCHAR) AS "table", CAST("from" AS VARCHAR) AS "from",
            price, _share, copy_number,
            CAST(device AS VARCHAR) AS device, advertising_id, CAST(extra AS VARCHAR) AS extra
        FROM logweir."heard" ORDER BY event_id"""),
    "sum": con.execute('SELECT sum(price) FROM logweir."heard"').fetchone()[0],
    "daily_active": rows('SELECT stream, CAST(day AS VARCHAR) AS day, events, devices FROM logweir.daily_active ORDER BY day'),
    "hourly_active": rows('SELECT CAST(hour AS VARCHAR) AS hour, events, devices FROM logweir.hourly_active ORDER BY hour'),
    "daily_counts": rows("""
        SELECT CAST(day AS VARCHAR) AS day, dimension, value, events, devices FROM logweir.daily_counts
        WHERE dimension <> 'user' ORDER BY day, dimension, value NULLS LAST"""),
    "hourly_counts": con.execute("SELECT CAST(sum(events) AS BIGINT) FROM logweir.hourly_counts").fetchone()[0],
}, default=str))
