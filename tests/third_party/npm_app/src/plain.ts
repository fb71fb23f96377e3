// Compiled by tsc alone: types of the package are erased, and the one global is declared.
import type { CCF } from "@microsoft/ccf-app/global";
import type { Request, Response } from "@microsoft/ccf-app";
import { failDeeply } from "./lib/failing.js";

declare const ccf: CCF;

const notes = ccf.kv["notes"];

export function putNote(request: Request<{ text: string }>): Response {
  notes.set(ccf.strToBuf(request.params.id), ccf.jsonCompatibleToBuf(request.body.json().text));
  return { statusCode: 204 };
}

export function getNote(request: Request): Response {
  const found = notes.get(ccf.strToBuf(request.params.id));
  return found === undefined ? { statusCode: 404 } : { body: ccf.bufToJsonCompatible(found) };
}

export function fail(request: Request): Response {
  return failDeeply(request.query);
}
