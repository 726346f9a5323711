module github.com/dispatchd/dispatchd/clients/go

go 1.21
