// A customer's and an operator's program in JavaScript over grpc-web, as a browser would speak.
//
//     echo '{"command": "story", ...}' | node client.mjs
//
// It reads one JSON object from stdin, does what `command` says, and prints one line of JSON: the same as the Python
// client beside it, whose file explains the two commands. It decides nothing about what it saw: tests/tests/foreign.rs
// does.

import { readContract, Server } from "./contract.mjs";

const TIERS = "tiershift.subscription.v1.TierService";
const MIGRATIONS = "tiershift.volume.v1.MigrationService";

// Messages after which the first watch is broken off.
const FIRST_MESSAGES = 3;

/** The summary of one change from its wish to its end, and of one that is canceled. */
async function story(wanted) {
  const contract = readContract(wanted.descriptors);
  const subscription = new Server(wanted.subscription_url, contract);
  const volume = new Server(wanted.volume_url, contract);
  const { owner, operator } = wanted;
  const tiers = async (method, request) => (await subscription.call(`${TIERS}/${method}`, request, owner)).answer;

  const summary = {};
  const listed = await subscription.call(`${TIERS}/ListTiers`, { with_room: true }, owner);
  [summary.tiers, summary.trailers] = [listed.answer.tiers, listed.trailers];
  const wish = { graph_id: wanted.graph_id, target_tier: wanted.target_tier };
  summary.preview = await tiers("PreviewTierChange", wish);
  Object.assign(wish, { request_id: "foreign-change", expected_price: summary.preview.plan.price_after });
  summary.accepted = (await tiers("ChangeTier", wish)).tier_change;
  summary.repeated = (await tiers("ChangeTier", wish)).tier_change;
  const changeId = summary.accepted.change_id;

  const other = {
    request_id: "foreign-other",
    graph_id: wanted.canceled_graph_id,
    target_tier: wanted.target_tier,
  };
  const canceledId = (await tiers("ChangeTier", other)).tier_change.change_id;
  await tiers("CancelTierChange", { request_id: "foreign-cancel", change_id: canceledId, note: "thought better" });

  const watchChange = (watchedId, cursor) => {
    const request = { changes: { change_ids: [watchedId] }, cursor };
    return subscription.watch(`${TIERS}/WatchTierChange`, request, owner);
  };
  const never = () => false;
  summary.watch = await collect(watchChange(changeId, ""), (_, count) => count === FIRST_MESSAGES);
  summary.resumed = await collect(watchChange(changeId, summary.watch.at(-1).cursor), never);
  summary.after_the_end = await collect(watchChange(changeId, summary.resumed.at(-1).cursor), never);
  summary.changed = (await tiers("GetTierChange", { change_id: changeId })).tier_change;
  summary.canceled_watch = await collect(watchChange(canceledId, ""), never);
  summary.canceled = (await tiers("GetTierChange", { change_id: canceledId })).tier_change;

  summary.pages = [];
  for (let token = ""; token !== undefined; token = summary.pages.at(-1).next_page_token) {
    const request = { org_id: wanted.org_id, page_size: 1, page_token: token };
    summary.pages.push(await tiers("ListTierChanges", request));
  }

  const watchMigration = async (cursor) => {
    const request = { positions: [{ migration_id: changeId, cursor }] };
    const messages = volume.watch(`${MIGRATIONS}/WatchMigration`, request, operator);
    const seen = await collect(messages, (message) => "end" in message || "opened" in (message.event ?? {}));
    return seen.filter((message) => "event" in message);
  };
  const read = await volume.call(`${MIGRATIONS}/GetMigration`, { migration_id: changeId }, operator);
  summary.migration = read.answer.migration;
  summary.migration_watch = await watchMigration("");
  const middle = Math.floor(summary.migration_watch.length / 2);
  summary.migration_resumed = await watchMigration(summary.migration_watch[middle - 1].cursor);
  return summary;
}

/** The messages of a stream up to the first that is enough; the stream is broken off there. */
async function collect(messages, enough) {
  const seen = [];
  for await (const message of messages) {
    seen.push(message);
    if (enough(message, seen.length)) {
      break;
    }
  }
  return seen;
}

/** What came back from each call of a list, by the call's name, in order. */
async function probe(wanted) {
  const contract = readContract(wanted.descriptors);
  const servers = {
    subscription: new Server(wanted.subscription_url, contract),
    volume: new Server(wanted.volume_url, contract),
  };
  const answers = {};
  for (const call of wanted.calls) {
    answers[call.name] = await servers[call.server].tryCall(call.method, call.request, call.caller);
  }
  return { answers };
}

let text = "";
for await (const chunk of process.stdin) {
  text += chunk;
}
const wanted = JSON.parse(text);
console.log(JSON.stringify(await { story, probe }[wanted.command](wanted)));
