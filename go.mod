module github.com/sluice-rpc/sluice

go 1.26
