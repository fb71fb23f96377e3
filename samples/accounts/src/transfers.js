// Transfers: made and read in full by the parties, seen in outline by everyone.

import {
  accountName, amount, created, endpoint, Failure, input, ok, organisationOf, queryParameter, reference, transferNumber,
} from "./http.js";
import * as ledger from "./ledger.js";

const MAX_PAGE = 100;

/** POST /transfers: moves an amount from an account of the caller's organisation to any other. */
export const make = endpoint((request) => {
  const body = input(request);
  const from = accountName(body.from, "from");
  const to = accountName(body.to, "to");
  const posting = { from, to, amount: amount(body.amount), reference: reference(body.reference) };
  ledger.findOwn(from, organisationOf(request));
  return created(ledger.post(posting));
});

/** GET /transfers/{id}: the public record. */
export const read = endpoint((request) => ok(ledger.transfer(transferNumber(request.params.id))));

/** GET /transfers?first=&last=: public records by number, at most 100; without a range the newest. */
export const list = endpoint((request) => {
  const newest = ledger.lastTransfer();
  const last = Math.min(newest, boundary(request, "last") ?? newest);
  const first = boundary(request, "first") ?? Math.max(1, last - MAX_PAGE + 1);
  if (last - first >= MAX_PAGE) {
    throw new Failure(400, "InvalidQueryParameterValue", `At most ${MAX_PAGE} transfers can be asked for at once`);
  }
  const transfers = [];
  for (let id = first; id <= last; id++) transfers.push(ledger.transfer(id));
  return ok({ newest, transfers });
});

/** GET /transfers/{id}/statement: the text whose digest the receipt of the transfer attests, for its parties. */
export const statement = endpoint((request) => {
  const id = transferNumber(request.params.id);
  const { from, to } = ledger.transfer(id);
  const organisation = organisationOf(request);
  if (organisation !== from && organisation !== to) {
    throw new Failure(403, "NotYourTransfer", `The transfer ${id} is between other organisations`);
  }
  return { statusCode: 200, headers: { "content-type": "application/json" }, body: ledger.statement(id) };
});

function boundary(request, name) {
  const value = queryParameter(request, name);
  return value === undefined ? undefined : transferNumber(value, name);
}
