interface Never {
  statusCode: number;
}

export function failDeeply(why: string): Never {
  function inner(): never {
    throw new Error(`failed: ${why}`);
  }
  return [why].map(() => inner())[0];
}
