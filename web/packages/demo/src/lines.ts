// The lines to copy: the same calls as plain HTTP with JSON, as Server-Sent Events and over WebSocket. No elements here.

/** The calls. */
export const calls = { ticker: "Ticker", room: "Chat" } as const;
/** How they are made. */
export const forms = { rest: "REST", sse: "Server-Sent Events", websocket: "WebSocket" } as const;
/** With what. */
export const languages = { curl: "curl", javascript: "JavaScript", go: "Go" } as const;

export type CallName = keyof typeof calls;
export type FormName = keyof typeof forms;
export type Language = keyof typeof languages;

/** A Place is where the gateway is. */
export interface Place {
	/** As https://api.example.com. */
	readonly origin: string;
	/** Its certificate is one that only this browser was told to take. */
	readonly private: boolean;
}

/** Lines are a text to copy, and what there is to say of it. */
export interface Lines {
	readonly text: string;
	readonly note: string;
}

const paths = { ticker: "/v1/ticker?count=3", room: "/v1/room" };
const words = (name: string) => `{"name":"${name}","text":"hello from ${name}"}`;

/** linesOf returns undefined if a language has no such lines. */
export function linesOf(place: Place, call: CallName, form: FormName, language: Language): Lines | undefined {
	if (language === "curl")
		return form === "websocket" ? undefined : { text: curl(place, call, form), note: note(call, form) };
	const text = language === "go" ? go(place, call, form) : javascript(place.origin, call, form);
	const where = language === "javascript" ? " In this page's console, or in a page of yours." : "";
	return { text, note: note(call, form) + where };
}

function note(call: CallName, form: FormName): string {
	if (call === "ticker") return "Three ticks, and the end.";
	return form === "sse"
		? "Listens to the chat above, until it is stopped."
		: "Says something in the chat above, and listens until it is stopped.";
}

function curl({ origin, private: insecure }: Place, call: CallName, form: FormName): string {
	const options = [insecure ? "-k" : "", "-N"];
	if (form === "sse") options.push("-H 'Accept: text/event-stream'");
	if (call === "room" && form === "rest") options.push(`-H 'Content-Type: application/json' -d '${words("curl")}'`);
	return `curl ${options.filter(Boolean).join(" ")} '${origin}${paths[call]}'`;
}

function javascript(origin: string, call: CallName, form: FormName): string {
	const url = origin + paths[call];
	if (form === "sse") {
		return `const events = new EventSource("${url}");
events.onmessage = (e) => console.log(JSON.parse(e.data));
events.addEventListener("EOS", () => events.close());`;
	}
	if (form === "websocket") {
		const say = call === "room" ? `\nsocket.onopen = () => socket.send('${words("JavaScript")}');` : "";
		return `const socket = new WebSocket("${url.replace(/^http/, "ws")}");${say}
socket.onmessage = (e) => console.log(JSON.parse(e.data));`;
	}
	const init =
		call === "room"
			? `, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: '${words("JavaScript")}',
}`
			: "";
	return `const response = await fetch("${url}"${init});
let rest = "";
for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + text).split("\\n");
  rest = lines.pop();
  for (const line of lines.filter(Boolean)) console.log(JSON.parse(line));
}`;
}

function go({ origin, private: insecure }: Place, call: CallName, form: FormName): string {
	const url = origin + paths[call];
	const tls = insecure
		? `\thttp.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // a certificate for development\n`
		: "";
	const imports = (...names: string[]) => names.map((n) => `\t"${n}"\n`).join("");
	const crypto = insecure ? ["crypto/tls"] : [];
	const fatal = "\tif err != nil {\n\t\tlog.Fatal(err)\n\t}\n";
	if (form === "websocket") {
		const say =
			call === "room"
				? `\tif err := conn.Write(ctx, websocket.MessageText, []byte(\`${words("Go")}\`)); err != nil {\n\t\tlog.Fatal(err)\n\t}\n`
				: "";
		return `package main

import (
${imports("context", ...crypto, "fmt", "log", ...(insecure ? ["net/http"] : []))}
	"github.com/coder/websocket"
)

func main() {
${tls}	ctx := context.Background()
	conn, _, err := websocket.Dial(ctx, "${url.replace(/^http/, "ws")}", nil)
${fatal}${say}	for {
		_, message, err := conn.Read(ctx)
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(message))
	}
}
`;
	}
	const post = call === "room" && form === "rest";
	const ask = post
		? `\tresponse, err := http.Post("${url}", "application/json", strings.NewReader(\`${words("Go")}\`))\n${fatal}`
		: form === "rest"
			? `\tresponse, err := http.Get("${url}")\n${fatal}`
			: `\trequest, err := http.NewRequest("GET", "${url}", nil)\n${fatal}\trequest.Header.Set("Accept", "text/event-stream")\n\tresponse, err := http.DefaultClient.Do(request)\n${fatal}`;
	const sse = form === "sse";
	const line = sse
		? `\t\tif data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {\n\t\t\tfmt.Println(data)\n\t\t}\n`
		: `\t\tfmt.Println(lines.Text())\n`;
	return `package main

import (
${imports("bufio", ...crypto, "fmt", "log", "net/http", ...(sse || post ? ["strings"] : []))})

func main() {
${tls}${ask}	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
${line}	}
}
`;
}
