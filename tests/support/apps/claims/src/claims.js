// A record by id in a private and a public table; with ?claim= the transaction attests the digest of its text.
// What a transaction of the past wrote is answered with its receipt, a range of them without.

const privateRecords = ccf.kv["records"];
const publicRecords = ccf.kv["public:records"];

function parameters(query) {
  return Object.fromEntries(query.split("&").map((pair) => pair.split("=")));
}

export function post(request) {
  const { id, claim } = parameters(request.query);
  const { secret, open } = request.body.json();
  privateRecords.set(ccf.strToBuf(id), ccf.strToBuf(secret));
  publicRecords.set(ccf.strToBuf(id), ccf.strToBuf(open));
  if (claim === "yes") ccf.rpc.setClaimsDigest(ccf.crypto.digest("SHA-256", ccf.strToBuf(open)));
  return { statusCode: 204 };
}

export function get(request) {
  const { id } = parameters(request.query);
  const secret = privateRecords.get(ccf.strToBuf(id));
  const open = publicRecords.get(ccf.strToBuf(id));
  if (secret === undefined) return { statusCode: 404 };
  return { body: { secret: ccf.bufToStr(secret), open: ccf.bufToStr(open) } };
}

export function getHistorical(request) {
  const key = ccf.strToBuf(parameters(request.query).id);
  const { kv, receipt, transactionId } = ccf.historicalState;
  const [secret, open] = [kv["records"].get(key), kv["public:records"].get(key)];
  if (secret === undefined) return { statusCode: 404 };
  return { body: { secret: ccf.bufToStr(secret), open: ccf.bufToStr(open), transactionId, receipt } };
}

export function getRange(request) {
  const { handle, from, to } = parameters(request.query);
  const states = ccf.historical.getStateRange(Number(handle), Number(from), Number(to), 60);
  if (states === null) return { statusCode: 202, headers: { "retry-after": "1" } };
  const entries = states.map(({ transactionId, kv }) => {
    const secrets = {};
    kv["records"].forEach((value, key) => (secrets[ccf.bufToStr(key)] = ccf.bufToStr(value)));
    return { transactionId, secrets };
  });
  ccf.historical.dropCachedStates(Number(handle));
  return { body: entries };
}
