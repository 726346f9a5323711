package dispatchd

// A line is one line for the daemon, and its place in the one list that it stands in, if any. Lists
// are linked through the lines, so that an event leaves from anywhere at once when it ends.
type line struct {
	next, prev *line
	in         *list

	// ref is what the answer repeats; 0 where no answer is waited for.
	ref   uint64
	bytes []byte
	// event is the event of this line, or nil: then it is a line of a transaction (begin, commit,
	// rollback).
	event *Pending
	// tx is the transaction that the line belongs to, or nil.
	tx *Tx
}

// list is a list of lines, the oldest first.
type list struct{ first, last *line }

func (l *list) push(x *line) {
	x.in, x.prev, x.next = l, l.last, nil
	if l.last == nil {
		l.first = x
	} else {
		l.last.next = x
	}
	l.last = x
}

// leave takes the line out of its list. A line that stands in none stays as it is.
func (x *line) leave() {
	if x.in == nil {
		return
	}
	if x.prev == nil {
		x.in.first = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		x.in.last = x.prev
	} else {
		x.next.prev = x.prev
	}
	x.in, x.prev, x.next = nil, nil, nil
}
