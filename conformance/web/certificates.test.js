// What docs/webtransport.md says of certificates, in Chromium and Firefox as they come: by hash WebTransport opens on a page
// at http://localhost, and by an authority that is trusted it does not, though pages do. When this fails a browser has
// changed, and that page has to.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { chromium } from "playwright-core";
import { launch as launchFirefox } from "./firefox.js";

function variable(name) {
	const value = process.env[name];
	if (!value) throw new Error(`${name} is not set: certificates_test.go runs this`);
	return value;
}

const http = variable("CERT_HTTP"); // http://localhost:8080
const https = variable("CERT_HTTPS"); // https://localhost:8443
const authority = variable("CERT_AUTHORITY");
const programs = { Chromium: variable("CERT_CHROMIUM"), Firefox: variable("CERT_FIREFOX") };
const discovery = "/.well-known/sluice"; // any page of the origin will do
const timeout = 60_000;

/** trust makes an NSS database trust the authority. */
function trust(dir) {
	mkdirSync(dir, { recursive: true });
	execFileSync("certutil", ["-N", "-d", `sql:${dir}`, "--empty-password"]);
	execFileSync("certutil", ["-A", "-d", `sql:${dir}`, "-t", "C,,", "-n", "Sluice", "-i", authority]);
}

/** The browsers, with or without trust in the authority; lenient is what makes them take it for QUIC too. */
const launchers = {
	Chromium: async ({ trusted, lenient }) => {
		const home = mkdtempSync(join(tmpdir(), "chromium-"));
		if (trusted) for (const dir of [".pki/nssdb", ".local/share/pki/nssdb"]) trust(join(home, dir)); // of two generations
		const args = ["--no-sandbox", ...(lenient ? ["--webtransport-developer-mode"] : [])];
		const browser = await chromium.launch({ executablePath: programs.Chromium, args, timeout, env: { ...process.env, HOME: home, XDG_DATA_HOME: "" } });
		const close = async () => {
			await browser.close();
			rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
		};
		return { newPage: () => browser.newPage(), close };
	},
	Firefox: ({ trusted, lenient }) => launchFirefox({
		executablePath: programs.Firefox, timeout, strict: true, prepare: trusted ? trust : undefined,
		prefs: { "devtools.jsonview.enabled": false, ...(lenient ? { "network.http.http3.disable_when_third_party_roots_found": false } : {}) },
	}),
};

// What follows runs in the page.

/** open opens a session, and returns the first byte that comes on the server's stream, or the error. */
const open = async ({ url, hashes }) => {
	const serverCertificateHashes = hashes.map((hash) => ({ algorithm: "sha-256", value: Uint8Array.from(atob(hash), (c) => c.charCodeAt(0)) }));
	try {
		const session = new WebTransport(url, serverCertificateHashes.length > 0 ? { serverCertificateHashes } : {});
		session.closed.catch(() => {});
		await session.ready;
		const { value: stream } = await session.incomingUnidirectionalStreams.getReader().read();
		const { value: bytes } = await stream.getReader().read();
		session.close();
		return bytes[0];
	} catch (err) {
		return String(err);
	}
};
const ticketOf = async (url) => {
	const answer = await fetch(url, { method: "POST", headers: { authorization: "Bearer abc" } });
	return (await answer.json()).ticket;
};

const welcome = 0x11;
const refused = /Opening handshake failed|connection rejected/;

for (const [name, launch] of Object.entries(launchers)) {
	describe(name, { timeout: 180_000 }, () => {
		let webtransport, now, next;

		before(async () => {
			const { carriers } = await (await fetch(http + discovery)).json();
			webtransport = carriers.find((c) => c.name === "webtransport");
			[now, next] = webtransport.certificates.map((c) => c.value);
		});

		describe("nothing is trusted", () => {
			let browser, page;
			before(async () => {
				browser = await launch({});
				page = await browser.newPage();
				await page.goto(http + discovery);
			}, { timeout });
			after(() => browser?.close(), { timeout: 15_000 });

			const opens = (hashes, query = "") => page.evaluate(open, { url: new URL(webtransport.url, http).href + query, hashes });

			test(`${name}: by hash`, async () => assert.equal(await opens([now, next]), welcome));
			test(`${name}: by the hash of the next certificate, which is not in use`, async () => assert.match(await opens([next]), refused));
			test(`${name}: without a hash`, async () => assert.match(await opens([]), refused));
			test(`${name}: by a ticket, once`, async () => {
				const query = `?ticket=${await page.evaluate(ticketOf, http + webtransport.ticket)}`;
				assert.equal(await opens([now], query), welcome);
				assert.match(await opens([now], query), refused);
			});
			test(`${name}: by a ticket for a cookie, which nobody needs who has none`, async () => {
				const ask = async (url) => {
					const answer = await fetch(url, { method: "POST" });
					return answer.status === 200 ? (await answer.json()).ticket : answer.status;
				};
				assert.equal(await page.evaluate(ask, http + webtransport.ticket), 204);
				await page.evaluate(() => { document.cookie = "session=1; path=/"; });
				const ticket = await page.evaluate(ask, http + webtransport.ticket);
				assert.equal(typeof ticket, "string", `${ticket}`);
				const query = `?ticket=${ticket}`;
				assert.equal(await opens([now], query), welcome);
			});
			test(`${name}: a page of another origin`, async () => {
				const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html>"));
				await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
				try {
					const foreign = await browser.newPage();
					await foreign.goto(`http://127.0.0.1:${server.address().port}/`);
					assert.match(await foreign.evaluate(open, { url: new URL(webtransport.url, http).href, hashes: [now] }), refused);
				} finally {
					server.close();
					server.closeAllConnections();
				}
			});
		});

		for (const lenient of [false, true]) {
			describe(`the authority is trusted${lenient ? ", for QUIC too" : ""}`, () => {
				let browser, page;
				before(async () => {
					browser = await launch({ trusted: true, lenient });
					page = await browser.newPage();
				}, { timeout });
				after(() => browser?.close(), { timeout: 15_000 });

				test(`${name}: pages${lenient ? ", and sessions" : ", but no session"}`, async () => {
					await page.goto(https.replace("localhost", "shop.localhost") + discovery);
					await page.goto(https + discovery);
					const got = await page.evaluate(open, { url: `${https}/sluice/v1`, hashes: [] });
					if (lenient) assert.equal(got, welcome);
					else assert.match(got, refused);
				});
			});
		}
	});
}
