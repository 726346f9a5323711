package main

// What the socket alone costs: lines that were made before are written many at once, and of the
// answers only the line feeds are counted. No client can cost less.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"os"
	"strconv"
)

const (
	linesAtOnce = 128
	readBytes   = 64 << 10
)

func saturateWithLines(of load, pid int, _ string) error {
	conn, err := net.Dial("unix", os.Getenv("DISPATCHD_SOCKET"))
	if err != nil {
		return err
	}
	defer conn.Close()
	writes := linesOf(of)
	room := make(chan struct{}, unackedMax/linesAtOnce)
	ended := make(chan error, 1)
	measured := measure(of.events, pid)
	go func() { ended <- count(conn, of.events, room) }()
	for _, write := range writes {
		room <- struct{}{}
		if _, err := conn.Write(write); err != nil {
			return err
		}
	}
	if err := <-ended; err != nil {
		return err
	}
	fmt.Println(measured())
	return nil
}

// linesOf are the lines of the events, as they are written.
func linesOf(of load) [][]byte {
	run := rand.Uint32() // else the daemon would know the ids of the run before
	var writes [][]byte
	var lines []byte
	for i := 0; i < of.events; i++ {
		key, id := of.keys[i%len(of.keys)], fmt.Sprintf("%08x-0000-4000-8000-%012x", run, i)
		lines = append(lines, `{"ref":`+strconv.Itoa(i)+`,"type":"order.placed","data":`...)
		lines = append(lines, of.data.(json.RawMessage)...)
		lines = append(lines, `,"options":{"id":"`+id+`","partitionKey":"`+key+"\"}}\n"...)
		if (i+1)%linesAtOnce == 0 || i == of.events-1 {
			writes, lines = append(writes, lines), nil
		}
	}
	return writes
}

// count reads until all events have their answers. What has answers makes room.
func count(conn net.Conn, events int, room <-chan struct{}) error {
	buf := make([]byte, readBytes)
	for answers, freed := 0, 0; answers < events; {
		n, err := conn.Read(buf)
		if err != nil {
			return err
		}
		if bytes.Contains(buf[:n], []byte(`"ok":false`)) {
			return errors.New("the daemon has refused an event: " + string(buf[:n]))
		}
		for answers += bytes.Count(buf[:n], []byte{'\n'}); freed < answers/linesAtOnce; freed++ {
			<-room
		}
	}
	return nil
}
