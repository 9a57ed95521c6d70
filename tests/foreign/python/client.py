"""A customer's and an operator's program in Python, made of nothing but what the servers' reflection says.

    echo '{"command": "story", ...}' | client.py

It reads one JSON object from stdin, does what `command` says, and prints one line of JSON. It decides nothing about
what it saw: tests/tests/foreign.rs does. An answer that it cannot go on from is an exception and exit status 1.

`story`: list tiers, preview, change, watch with one interruption to the end; cancel another change and watch that to its
end; page through both; look at the migration behind the first. `probe`: make each call of a list and say what came back.
"""

import itertools
import json
import sys

from contract import Server

TIERS = "tiershift.subscription.v1.TierService"
MIGRATIONS = "tiershift.volume.v1.MigrationService"

# Messages after which the first watch is broken off.
FIRST_MESSAGES = 3


def story(wanted):
    """The summary of one change from its wish to its end, and of one that is canceled."""
    subscription, volume = Server(wanted["subscription_url"]), Server(wanted["volume_url"])
    owner, operator = wanted["owner"], wanted["operator"]

    def tiers(method, request):
        return subscription.call(f"{TIERS}/{method}", request, owner)

    summary = {
        "services": {"subscription": subscription.services(), "volume": volume.services()},
        "tiers": tiers("ListTiers", {"with_room": True})["tiers"],
    }
    wish = {"graph_id": wanted["graph_id"], "target_tier": wanted["target_tier"]}
    summary["preview"] = tiers("PreviewTierChange", wish)
    wish |= {"request_id": "foreign-change", "expected_price": summary["preview"]["plan"]["price_after"]}
    summary["accepted"] = tiers("ChangeTier", wish)["tier_change"]
    summary["repeated"] = tiers("ChangeTier", wish)["tier_change"]
    change_id = summary["accepted"]["change_id"]

    other = {"graph_id": wanted["canceled_graph_id"], "target_tier": wanted["target_tier"]}
    canceled_id = tiers("ChangeTier", other | {"request_id": "foreign-other"})["tier_change"]["change_id"]
    tiers("CancelTierChange", {"request_id": "foreign-cancel", "change_id": canceled_id, "note": "thought better"})

    def watch_change(watched_id, cursor):
        request = {"changes": {"change_ids": [watched_id]}, "cursor": cursor}
        return subscription.watch(f"{TIERS}/WatchTierChange", request, owner)

    summary["watch"] = take(watch_change(change_id, ""), FIRST_MESSAGES)
    summary["resumed"] = list(watch_change(change_id, summary["watch"][-1]["cursor"]))
    summary["after_the_end"] = list(watch_change(change_id, summary["resumed"][-1]["cursor"]))
    summary["changed"] = tiers("GetTierChange", {"change_id": change_id})["tier_change"]
    summary["canceled_watch"] = list(watch_change(canceled_id, ""))
    summary["canceled"] = tiers("GetTierChange", {"change_id": canceled_id})["tier_change"]

    page = {"org_id": wanted["org_id"], "page_size": 1}
    pages = summary["pages"] = [tiers("ListTierChanges", page)]
    while token := pages[-1].get("next_page_token"):
        pages.append(tiers("ListTierChanges", page | {"page_token": token}))

    def watch_migration(cursor):
        request = {"positions": [{"migration_id": change_id, "cursor": cursor}]}
        return until_opened(volume.watch(f"{MIGRATIONS}/WatchMigration", request, operator))

    summary["migration"] = volume.call(f"{MIGRATIONS}/GetMigration", {"migration_id": change_id}, operator)["migration"]
    summary["migration_watch"] = watch_migration("")
    middle = len(summary["migration_watch"]) // 2
    summary["migration_resumed"] = watch_migration(summary["migration_watch"][middle - 1]["cursor"])
    return summary


def take(messages, count):
    """The first messages of a stream, which is broken off then."""
    taken = list(itertools.islice(messages, count))
    messages.close()
    return taken


def until_opened(messages):
    """The messages about a migration up to the one that says that its graph serves; what settles it comes later."""
    seen = []
    for message in messages:
        if "event" in message:
            seen.append(message)
        if "end" in message or "opened" in message.get("event", {}):
            break
    messages.close()
    return seen


def probe(wanted):
    """What came back from each call of a list, by the call's name, in order."""
    servers = {"subscription": Server(wanted["subscription_url"]), "volume": Server(wanted["volume_url"])}
    answers = {}
    for call in wanted["calls"]:
        server = servers[call["server"]]
        if "raw" in call:
            answers[call["name"]] = server.try_raw(call["method"], bytes(call["raw"]), call["caller"])
        else:
            answers[call["name"]] = server.try_call(call["method"], call["request"], call["caller"])
    return {"answers": answers}


def main():
    """Reads what is wanted, does it, prints what was seen."""
    wanted = json.load(sys.stdin)
    command = {"story": story, "probe": probe}[wanted["command"]]
    print(json.dumps(command(wanted)))


if __name__ == "__main__":
    main()
