// What pages are made of: a script that esbuild bundles, and a server of a page with it.
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { browsers } from "./browsers.js";

// The client of web/packages/client gets its peers from this folder: two copies of one would not know each other's errors.
const peers = { name: "peers", setup: (b) => b.onResolve({ filter: /^(@(connectrpc|bufbuild|protobuf-ts|improbable-eng)\/|nice-grpc-web$)/ }, ({ path, kind, pluginData }) =>
	pluginData === "peers" ? undefined : b.resolve(path, { kind, resolveDir: import.meta.dirname, pluginData: "peers" })) };

/** bundle makes a script of a file of this folder, with plugins of esbuild. */
export async function bundle(file, options = {}, plugins = []) {
	const { outputFiles } = await build({
		entryPoints: [fileURLToPath(new URL(file, import.meta.url))], bundle: true, write: false, format: "iife", target: "es2022", plugins: [peers, ...plugins], ...options,
	});
	return outputFiles[0].text;
}

/** serve serves a page with a script at a port, or at any. */
export async function serve(script, port = 0) {
	const server = createServer((request, response) => {
		const isScript = request.url === "/page.js";
		response.setHeader("content-type", isScript ? "text/javascript" : "text/html; charset=utf-8");
		response.end(isScript ? script : `<!doctype html><link rel="icon" href="data:,"><script src="/page.js"></script>`);
	});
	await new Promise((resolve, reject) => server.once("error", reject).listen(port, "127.0.0.1", resolve));
	return {
		origin: `http://127.0.0.1:${server.address().port}`,
		close() {
			server.close();
			server.closeAllConnections();
		},
	};
}

/** openPage opens a page with the script of a file in a browser of its own. Its close ends all of it. */
export async function openPage(browserName, executablePath, file) {
	const server = await serve(await bundle(file));
	let browser;
	const close = async () => {
		await browser?.close();
		server.close();
	};
	try {
		browser = await browsers[browserName](executablePath);
		const page = await browser.newPage();
		await page.goto(server.origin);
		return { browser, page, evaluate: (f, argument) => page.evaluate(f, argument), close };
	} catch (err) {
		await close();
		throw err;
	}
}
