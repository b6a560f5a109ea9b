// A page as it was written for grpcwebproxy.
import { grpc } from "@improbable-eng/grpc-web";
import { GrpcWebImpl, WeatherClientImpl } from "./gen/weather";

const show = (id: string, text: string) => (document.getElementById(id)!.textContent = text);

const proxy = `http://localhost:${import.meta.env.VITE_PROXY_PORT ?? 8081}`;
const client = new WeatherClientImpl(
	new GrpcWebImpl(proxy, {
		transport: grpc.CrossBrowserHttpTransport({}),
		streamingTransport: grpc.WebsocketTransport(),
	}),
);

const now = await client.Now({ city: "Oslo" });
show("now", `${now.city}: ${now.celsius} °C`);

client.Watch({ city: "Oslo", reports: 3 }).subscribe({
	next({ celsius }) {
		const item = document.createElement("li");
		item.textContent = `${celsius} °C`;
		document.getElementById("reports")!.append(item);
	},
	error: (err: Error) => show("state", err.message),
	complete: () => show("state", "that was all"),
});
