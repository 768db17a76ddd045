"""Fetches what has come since the last run, and keeps it: a file for each notification.

    TIDINGS_URL=http://127.0.0.1:8080 TIDINGS_KEY=… python catch_up.py archive

Run it as often as you like, and kill it whenever you like: the cursor moves only when all before it is kept.
"""

import json
import os
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen


def keep(path: Path, text: str) -> None:
    """Writes a file, all of it or nothing."""
    temporary = path.with_suffix(".new")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def page(after: str) -> dict:
    """The notifications behind a cursor, dismissed or not, oldest first."""
    query = urlencode({"sort": "sequence", "page[after]": after, "filter[isDismissed]": "true,false"})
    url = f"{os.environ['TIDINGS_URL']}/api/rest/v1.0/notifications?{query}"
    try:
        with urlopen(Request(url, headers={"x-api-key": os.environ["TIDINGS_KEY"]})) as answer:
            return json.load(answer)
    except HTTPError as refused:
        sys.exit(json.load(refused)["errors"][0]["detail"])


folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
cursor = folder / "cursor"
after = cursor.read_text() if cursor.exists() else "0"

more = True
while more:
    found = page(after)
    for notification in found["data"]:
        keep(folder / f"{notification['id']}.json", json.dumps(notification))
    after = found["meta"]["page"]["after"]
    keep(cursor, after)
    more = found["links"]["next"]
print(f"kept all up to {after}")
