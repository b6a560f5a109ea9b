// What rest_test.go says: where the feed is, behind the gateway, and where the demo.
import { readFileSync } from "node:fs";

function variable(name) {
	const value = process.env[name];
	if (!value) throw new Error(`${name} is not set: rest_test.go runs this`);
	return value;
}

export const env = {
	http: variable("REST_HTTP"), // base URLs of the gateway
	https: variable("REST_HTTPS"),
	demo: variable("REST_DEMO"), // base URL of sluice demo
	pagePort: Number(variable("REST_PAGE_PORT")), // where the page is that may call
	chromium: variable("REST_CHROMIUM"),
	firefox: variable("REST_FIREFOX"),
};

/** snippet takes a program from docs/streaming.md: the one that begins so. */
export function snippet(start, base) {
	const page = readFileSync(new URL("../../docs/streaming.md", import.meta.url), "utf8");
	const programs = [...page.matchAll(/^```js\n(.*?)^```/gms)].map((m) => m[1]).filter((p) => p.startsWith(start));
	if (programs.length !== 1) throw new Error(`docs/streaming.md has ${programs.length} programs that begin with ${start}`);
	if (!programs[0].includes("http://localhost:8080")) throw new Error("the program does not call the demo");
	return programs[0].replaceAll("http://localhost:8080", base);
}
