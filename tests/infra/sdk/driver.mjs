// Makes the calls of the client for JavaScript that come as lines of JSON, and answers each in a line.
import { createInterface } from "node:readline";
import { CarillonError, Client } from "../../../infra/sdk/javascript/carillon.js";

const [url, key, options] = process.argv.slice(2);
const client = new Client(url, key, JSON.parse(options));
for await (const line of createInterface({ input: process.stdin })) {
  const { call, given } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ value: (await client[call](...given)) ?? null }));
  } catch (error) {
    if (!(error instanceof CarillonError)) throw error;
    console.log(JSON.stringify({ problem: error.problem, message: error.message }));
  }
}
