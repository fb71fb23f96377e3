// The books. Every transfer is posted twice, once for each account, so that all balances always add up to zero.
// Money enters from the account `external`, the only one that may fall below zero.
//
// Private tables hold who owns what; the public table of transfers shows that a transfer took place, between which
// organisations, and the digest of its statement. Amounts stay private.

import { Failure } from "./http.js";

export const EXTERNAL = "external";
const EXTERNAL_ORGANISATION = "external";

const accounts = ccf.kv["accounts"];
const statements = ccf.kv["statements"];
const transfers = ccf.kv["public:transfers"];
const counters = ccf.kv["public:counters"];
const LAST_TRANSFER = ccf.strToBuf("last_transfer");

const toKey = (id) => ccf.strToBuf(String(id));
const entriesOf = (account) => ccf.kv[`entries.${account}`];
const entryKey = (id) => ccf.strToBuf(String(id).padStart(15, "0"));

const toHex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** Opens an account with nothing in it. */
export function open(account, organisation) {
  if (account === EXTERNAL || accounts.has(toKey(account))) {
    throw new Failure(409, "AccountExists", `The account ${account} exists already`);
  }
  return store(account, { organisation, balance: 0 });
}

/** An account's owner and balance. */
export function find(account) {
  const record = accounts.get(toKey(account));
  if (record !== undefined) return ccf.bufToJsonCompatible(record);
  if (account === EXTERNAL) return { organisation: EXTERNAL_ORGANISATION, balance: 0 };
  throw new Failure(404, "AccountNotFound", `There is no account ${account}`);
}

/** An account, only for those who own it. */
export function findOwn(account, organisation) {
  const found = find(account);
  if (found.organisation !== organisation) {
    throw new Failure(403, "NotYourAccount", `The account ${account} belongs to another organisation`);
  }
  return found;
}

/** Every posting on an account, oldest first. */
export function entries(account) {
  const result = [];
  entriesOf(account).forEach((entry) => result.push(ccf.bufToJsonCompatible(entry)));
  return result;
}

/** Moves an amount between two accounts and claims the statement of it; returns number, statement and digest. */
export function post({ from, to, amount, reference }) {
  if (from === to) throw new Failure(400, "InvalidInput", "The two accounts must differ");
  const payer = find(from);
  const payee = find(to);
  if (from !== EXTERNAL && payer.balance < amount) {
    throw new Failure(409, "InsufficientFunds", `The account ${from} holds less than ${amount}`);
  }
  if (!Number.isSafeInteger(payee.balance + amount) || !Number.isSafeInteger(payer.balance - amount)) {
    throw new Failure(409, "BalanceTooLarge", "The balance would be too large to be exact");
  }
  const id = nextNumber();
  enter(from, payer, { id, counterparty: to, amount: -amount, reference });
  enter(to, payee, { id, counterparty: from, amount, reference });
  return publish(id, payer, payee, JSON.stringify({ id, from, to, amount, reference, salt: makeSalt() }));
}

/** The public record of a transfer. */
export function transfer(id) {
  const record = transfers.get(toKey(id));
  if (record === undefined) throw new Failure(404, "TransferNotFound", `There is no transfer ${id}`);
  return ccf.bufToJsonCompatible(record);
}

/** The number of the newest transfer, 0 before the first; numbers have no gaps. */
export function lastTransfer() {
  const last = counters.get(LAST_TRANSFER);
  return last === undefined ? 0 : ccf.bufToJsonCompatible(last);
}

/** The exact text whose digest a transfer claims. */
export function statement(id) {
  const text = statements.get(toKey(id));
  if (text === undefined) throw new Failure(404, "TransferNotFound", `There is no transfer ${id}`);
  return ccf.bufToStr(text);
}

function store(account, record) {
  accounts.set(toKey(account), ccf.jsonCompatibleToBuf(record));
  return record;
}

// Without it the public digest would give away a statement to whoever tries all likely amounts.
function makeSalt() {
  const words = Array.from({ length: 4 }, () => Math.floor(Math.random() * 2 ** 32));
  return words.map((word) => word.toString(16).padStart(8, "0")).join("");
}

function nextNumber() {
  const id = lastTransfer() + 1;
  counters.set(LAST_TRANSFER, ccf.jsonCompatibleToBuf(id));
  return id;
}

function enter(account, record, entry) {
  const balance = record.balance + entry.amount;
  store(account, { ...record, balance });
  entriesOf(account).set(entryKey(entry.id), ccf.jsonCompatibleToBuf({ ...entry, balance }));
}

function publish(id, payer, payee, text) {
  const bytes = ccf.strToBuf(text);
  const digest = ccf.crypto.digest("SHA-256", bytes);
  ccf.rpc.setClaimsDigest(digest);
  statements.set(toKey(id), bytes);
  const record = { id, from: payer.organisation, to: payee.organisation, digest: toHex(digest) };
  transfers.set(toKey(id), ccf.jsonCompatibleToBuf(record));
  return { id, statement: text, digest: record.digest };
}
