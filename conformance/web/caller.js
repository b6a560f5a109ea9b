// A client under test for the Connect conformance suite, behind conformance/cmd/caller:
//
//	node caller.js PLATFORM CARRIER
//
// It takes ClientCompatRequests from standard input, each preceded by its size in four bytes, has them answered by caller-page.js in
// Chromium, Firefox or Node, and writes the answers to standard output.
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { WebSocket } from "ws";
import { bundle, openPage } from "./serve.js";

const [platform, carrier] = process.argv.slice(2);
const atATime = 8;

/** Node calls itself. */
async function openNode() {
	globalThis.WebSocket ??= WebSocket;
	await import(`data:text/javascript,${encodeURIComponent(await bundle("caller-page.js", { format: "esm" }))}`);
	return { evaluate: (f, argument) => f(argument), close: () => {} };
}

/** sized takes messages apart. */
async function* sized(input) {
	let have = Buffer.alloc(0);
	for await (const b of input) {
		have = Buffer.concat([have, b]);
		while (have.length >= 4 && have.length >= 4 + have.readUInt32BE()) {
			const end = 4 + have.readUInt32BE();
			yield have.subarray(4, end);
			have = have.subarray(end);
		}
	}
}

const place = platform === "Node" ? await openNode() : await openPage(platform, process.env[`CALLER_${platform.toUpperCase()}`], "caller-page.js");
try {
	const certificate = new X509Certificate(readFileSync(process.env.NODE_EXTRA_CA_CERTS)); // the gateways'
	await place.evaluate((options) => globalThis.prepare(options), {
		carrier, types: readFileSync(process.env.CALLER_TYPES, "base64"),
		hash: [...Buffer.from(certificate.fingerprint256.replaceAll(":", ""), "hex")],
	});
	const running = new Set();
	for await (const request of sized(process.stdin)) {
		const one = place.evaluate((base64) => globalThis.answer(base64), request.toString("base64")).then((base64) => {
			const answer = Buffer.from(base64, "base64");
			const size = Buffer.alloc(4);
			size.writeUInt32BE(answer.length);
			process.stdout.write(Buffer.concat([size, answer]));
			running.delete(one);
		});
		running.add(one);
		if (running.size === atATime) await Promise.race(running);
	}
	await Promise.all(running);
} finally {
	await place.close();
}
process.exit(); // its connections are of no more use
