// Stock Firefox, driven by WebDriver BiDi (https://w3c.github.io/webdriver-bidi/): the browser as its
// distributor ships it, with nothing in between but a WebSocket. The interface is the part of
// Playwright's that the judges need.
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { WebSocket } from "ws";

/** What a profile begins with; the rest is what the browser recommends to itself under remote control. */
const preferences = {
	"remote.active-protocols": 1, // WebDriver BiDi
	"datareporting.policy.dataSubmissionEnabled": false,
	"network.captive-portal-service.enabled": false,
	"network.connectivity-service.enabled": false,
	"browser.shell.checkDefaultBrowser": false,
};

/** launch starts a browser with a profile of its own. prepare gets its directory before; strict takes no certificate that is not trusted. */
export async function launch({ executablePath, timeout = 60_000, prefs = {}, prepare = () => {}, strict = false }) {
	const profile = await mkdtemp(join(tmpdir(), "firefox-"));
	const lines = Object.entries({ ...preferences, ...prefs }).map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`);
	await writeFile(join(profile, "user.js"), lines.join(""));
	await prepare(profile);
	const program = spawn(executablePath, ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank"], {
		env: { ...process.env, HOME: profile, MOZ_HEADLESS: "1" }, stdio: ["ignore", "ignore", "pipe"],
	});
	const ended = new Promise((resolve) => program.once("exit", resolve));
	const close = async () => {
		program.kill("SIGKILL"); // nothing of the profile is kept
		await ended;
		await rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
	};
	try {
		const bidi = await connect(await listening(program, timeout));
		await bidi.send("session.new", { capabilities: { alwaysMatch: { acceptInsecureCerts: !strict } } });
		return { newPage: () => newPage(bidi), close };
	} catch (err) {
		await close();
		throw err;
	}
}

/** listening waits until the browser says where its WebSocket is. */
function listening(program, timeout) {
	return new Promise((resolve, reject) => {
		const said = [];
		const timer = setTimeout(() => reject(new Error(`Firefox does not listen:\n${said.join("\n")}`)), timeout);
		program.once("error", reject);
		program.once("exit", (code) => reject(new Error(`Firefox ended with ${code}:\n${said.join("\n")}`)));
		createInterface({ input: program.stderr }).on("line", (line) => {
			if (said.push(line) > 50) said.shift();
			const at = /^WebDriver BiDi listening on (ws:.*)$/.exec(line);
			if (!at) return;
			clearTimeout(timer);
			resolve(`${at[1]}/session`);
		});
	});
}

/** connect returns what sends commands. An event goes to whoever listens to its method. */
async function connect(url) {
	const socket = new WebSocket(url);
	await new Promise((resolve, reject) => socket.once("open", resolve).once("error", reject));
	const waiting = new Map();
	const listeners = [];
	let id = 0;
	socket.on("message", (data) => {
		const answer = JSON.parse(data);
		if (answer.type === "event") {
			for (const l of listeners) if (l.method === answer.method) l.take(answer.params);
			return;
		}
		const { resolve, reject } = waiting.get(answer.id);
		waiting.delete(answer.id);
		if (answer.type === "success") resolve(answer.result);
		else reject(new Error(`${answer.error}: ${answer.message}`));
	});
	socket.on("error", () => {}); // its close follows
	socket.on("close", () => {
		for (const { reject } of waiting.values()) reject(new Error("the connection to Firefox was lost"));
		waiting.clear();
	});
	return {
		send: (method, params) => new Promise((resolve, reject) => {
			if (socket.readyState !== WebSocket.OPEN) return reject(new Error("the connection to Firefox was lost"));
			waiting.set(++id, { resolve, reject });
			socket.send(JSON.stringify({ id, method, params }));
		}),
		on: (method, take) => listeners.push({ method, take }),
	};
}

async function newPage(bidi) {
	const { context } = await bidi.send("browsingContext.create", { type: "tab" });
	return {
		goto: (url) => bidi.send("browsingContext.navigate", { context, url, wait: "complete" }),
		/** evaluate calls a function in the page with an argument; both go there as text. */
		evaluate: async (f, argument) => {
			const { type, result, exceptionDetails } = await bidi.send("script.callFunction", {
				functionDeclaration: `async (json) => JSON.stringify({ value: await (${f})(...JSON.parse(json)) })`,
				arguments: [{ type: "string", value: JSON.stringify([argument]) }], target: { context }, awaitPromise: true, userActivation: false,
			});
			if (type !== "success") throw new Error(exceptionDetails.text);
			return JSON.parse(result.value).value;
		},
		/** onResponse hears of the answers that the page gets: their URL and the version of HTTP. */
		onResponse: async (take) => {
			bidi.on("network.responseCompleted", (event) => {
				if (event.context === context) take({ url: event.response.url, protocol: event.response.protocol });
			});
			await bidi.send("session.subscribe", { events: ["network.responseCompleted"], contexts: [context] });
		},
		/** bringToFront ends that timers run late, as they do in pages that are hidden. */
		bringToFront: () => bidi.send("browsingContext.activate", { context }),
		/** hide looks at another tab, and show at this one again. */
		hide: async () => {
			const other = await bidi.send("browsingContext.create", { type: "tab" });
			await bidi.send("browsingContext.activate", { context: other.context });
		},
		show: () => bidi.send("browsingContext.activate", { context }),
		close: () => bidi.send("browsingContext.close", { context }),
	};
}
