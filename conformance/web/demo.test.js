// Connect-ES with `sluice demo`, whose schema the gateway has by reflection.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Code } from "@connectrpc/connect";
import { createJudge, protocols } from "./connect-cases.js";
import { env } from "./env.js";

for (const protocol of protocols) {
	const judge = () => createJudge(protocol, env.demo, env.descriptorSet);
	const limit = { timeout: 15_000 };

	test(`demo, ${protocol}: Echo`, limit, async () => {
		assert.equal((await judge().client.echo({ text: "grüße" })).text, "grüße");
	});

	test(`demo, ${protocol}: Ticker`, limit, async () => {
		const numbers = [];
		for await (const m of judge().client.ticker({ count: 3, everyMs: 10 })) numbers.push(m.number);
		assert.deepEqual(numbers, [1, 2, 3]);
	});

	test(`demo, ${protocol}: Ticker, error`, limit, async () => {
		const all = async () => {
			for await (const _ of judge().client.ticker({ count: 100_001 }));
		};
		await assert.rejects(all, { code: Code.InvalidArgument, rawMessage: "count is at most 100000 and every_ms at most 60000" });
	});
}

test("demo, connect: Echo by GET", { timeout: 15_000 }, async () => {
	const { getClient, methods } = createJudge("connect", env.demo, env.descriptorSet);
	assert.equal((await getClient.echo({ text: "grüße" })).text, "grüße");
	assert.deepEqual(methods, ["GET"]);
});
