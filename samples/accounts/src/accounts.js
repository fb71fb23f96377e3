// Accounts: opened and read by the users of an organisation, filled by members of the consortium.

import { accountName, amount, created, endpoint, input, ok, organisationOf, reference } from "./http.js";
import * as ledger from "./ledger.js";

/** PUT /accounts/{account}: opens an account for the caller's organisation. */
export const open = endpoint((request) => {
  const account = accountName(request.params.account);
  return created({ account, ...ledger.open(account, organisationOf(request)) });
});

/** GET /accounts/{account}: owner and balance, for the owner. */
export const read = endpoint((request) => {
  const account = accountName(request.params.account);
  return ok({ account, ...ledger.findOwn(account, organisationOf(request)) });
});

/** GET /accounts/{account}/entries: every posting, for the owner. */
export const entries = endpoint((request) => {
  const account = accountName(request.params.account);
  ledger.findOwn(account, organisationOf(request));
  return ok({ account, entries: ledger.entries(account) });
});

/** POST /accounts/{account}/deposits: a member attests that money came in from outside. */
export const deposit = endpoint((request) => {
  const to = accountName(request.params.account);
  const body = input(request);
  const posting = { from: ledger.EXTERNAL, to, amount: amount(body.amount), reference: reference(body.reference) };
  return created(ledger.post(posting));
});
