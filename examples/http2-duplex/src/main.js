import "./node.js";
import makeDuplex from "http2-duplex";

const duplex = await makeDuplex(new URL("/echo", location.href).href, {
	// Chromium streams requests over HTTP/2 only, which it speaks with TLS only.
	disable_request_streaming: location.protocol === "http:",
});
const echo = document.querySelector("pre");

addEventListener("keypress", (event) => duplex.write(event.key));
duplex.on("data", (bytes) => echo.append(bytes.toString()));
duplex.on("error", (err) => echo.append(`\n${err}`));
document.querySelector("h1").textContent = "Type";
