// What web_test.go says: where the gateway is, and what it serves.
import { readFileSync } from "node:fs";

function variable(name) {
	const value = process.env[name];
	if (!value) throw new Error(`${name} is not set: web_test.go runs this`);
	return value;
}

export const env = {
	http: variable("WEB_HTTP"), // base URLs of the gateway
	https: variable("WEB_HTTPS"),
	demo: variable("WEB_DEMO"), // base URL of sluice demo
	listedPort: Number(variable("WEB_LISTED_PORT")), // where the page is that may call
	chromium: variable("WEB_CHROMIUM"),
	descriptorSet: readFileSync(variable("WEB_SCHEMA")),
};
