// Command client plays the game, with any library for WebSockets: here github.com/coder/websocket.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

func main() {
	log.SetFlags(0)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	socket, _, err := websocket.Dial(ctx, "ws://localhost:"+cmp.Or(os.Getenv("PORT"), "8080")+"/v1/play", nil)
	if err != nil {
		log.Fatal(err)
	}
	low, high := 1, 100
	for {
		if err := wsjson.Write(ctx, socket, map[string]int{"number": (low + high) / 2}); err != nil {
			log.Fatal(err)
		}
		var hint struct {
			Number int
			Hint   string
		}
		err := wsjson.Read(ctx, socket, &hint)
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			return // the call ended with OK
		}
		if err != nil {
			log.Fatal(err) // other codes are in it
		}
		fmt.Println(hint.Number, hint.Hint)
		switch hint.Hint {
		case "higher":
			low = hint.Number + 1
		case "lower":
			high = hint.Number - 1
		}
	}
}
