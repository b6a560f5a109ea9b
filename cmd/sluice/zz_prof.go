package main

import (
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"
	"time"
)

func init() {
	if p := os.Getenv("PROFOUT"); p != "" {
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGUSR1)
		go func() {
			<-c
			f, _ := os.Create(p)
			_ = pprof.StartCPUProfile(f)
			time.Sleep(4 * time.Second)
			pprof.StopCPUProfile()
			f.Close()
			f, _ = os.Create(p + ".heap")
			_ = pprof.Lookup("allocs").WriteTo(f, 0)
			f.Close()
		}()
	}
}
