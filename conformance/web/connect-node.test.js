// Connect-ES in Node, whose fetch speaks HTTP/1.1.
import { test } from "node:test";
import { casesOf, createJudge, protocols } from "./connect-cases.js";
import { env } from "./env.js";

for (const protocol of protocols) {
	for (const [title, run] of Object.entries(casesOf(protocol))) {
		test(`Node, ${protocol}: ${title}`, { timeout: 15_000 }, () => run(createJudge(protocol, env.http, env.descriptorSet)));
	}
}
