"""Counts, sums and averages transactions per user and minute with DuckDB on one thread; prints the CPU seconds and the number of results."""

import sys
import time

import duckdb

connection = duckdb.connect()
connection.execute("SET threads = 1")
query = """CREATE OR REPLACE TABLE result AS SELECT "user", ts_ms // 60000 AS minute, count(*) AS count, sum(amount) AS sum, avg(amount) AS avg
           FROM read_json(?, format = 'newline_delimited', columns = {ts_ms: 'BIGINT', "user": 'VARCHAR', amount: 'DOUBLE'})
           GROUP BY ALL"""
best = None
for _ in range(2):
    begin = time.process_time()
    connection.execute(query, [sys.argv[1]])
    taken = time.process_time() - begin
    best = taken if best is None else min(best, taken)
print(best, connection.execute("SELECT count(*) FROM result").fetchone()[0])
