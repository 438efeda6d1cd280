"""Computes expected/quake-alerts.ndjson from events/quakes.ndjson, without Tidemill."""

import json
import pathlib
import re

folder = pathlib.Path(__file__).parent
regions = {}
alerts = []
for line in (folder / "events/quakes.ndjson").open():
    quake = json.loads(line)
    if quake["kind"] != "earthquake" or quake["mag"] is None or quake["mag"] < 1.0:
        continue
    near, _, region = quake["place"].rpartition(", ")
    if not near:
        near = region = quake["place"]
    measured = re.fullmatch(r"(\d+)km (\S+) of (.+)", near)
    number, strongest = regions.get(region, (0, None))
    record = strongest is None or quake["mag"] > strongest
    regions[region] = (number + 1, quake["mag"] if record else strongest)
    tsunami = quake["tsunami"] == 1
    if quake["mag"] >= 4.5 or tsunami:
        alerts.append({
            "id": quake["id"],
            "region": region,
            "near": measured[3] if measured else near,
            "distance_km": int(measured[1]) if measured else None,
            "mag": float(quake["mag"]),
            "severity": "critical" if tsunami or quake["mag"] >= 6.0 else "warning",
            "record": record,
            "number": number + 1,
        })
with (folder / "expected/quake-alerts.ndjson").open("w") as out:
    for alert in alerts:
        out.write(json.dumps(alert, ensure_ascii=False, separators=(",", ":")) + "\n")
