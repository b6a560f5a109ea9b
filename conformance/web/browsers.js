// The browsers that judge, in one form.
import { chromium } from "playwright-core";
import { launch as launchFirefox } from "./firefox.js";

const timeout = 60_000;

async function launchChromium(executablePath, args) {
	const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", ...args], timeout });
	const context = await browser.newContext({ ignoreHTTPSErrors: true });
	return {
		newPage: async () => {
			const page = await context.newPage();
			const devtools = await context.newCDPSession(page);
			page.onResponse = async (take) => {
				await devtools.send("Network.enable");
				devtools.on("Network.responseReceived", ({ response: { url, protocol } }) => take({ url, protocol }));
			};
			// Without a screen Chromium hides no page, and freezes none that is not hidden. A debugger stops it as sleep does.
			page.hide = async () => {
				await devtools.send("Debugger.enable");
				await devtools.send("Debugger.pause");
			};
			page.show = () => devtools.send("Debugger.disable");
			page.heap = async () => {
				await devtools.send("HeapProfiler.collectGarbage");
				return (await devtools.send("Runtime.getHeapUsage")).usedSize;
			};
			return page;
		},
		close: () => browser.close(),
	};
}

/**
 * The browsers by name. Each is launched with the path of its program. A page has goto, evaluate, bringToFront
 * and close as in Playwright, and onResponse(take), which hears {url, protocol} of what it gets.
 */
export const browsers = {
	Chromium: (executablePath, { args = [] } = {}) => launchChromium(executablePath, args),
	Firefox: (executablePath, { prefs = {} } = {}) => launchFirefox({ executablePath, timeout, prefs }),
};
