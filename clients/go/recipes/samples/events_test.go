package samples

import (
	"testing"

	"github.com/dispatchd/dispatchd/clients/go/samples"
)

// Every event has a complete sample: copy this test. The folder is for `dispatchd schema generate`.
func TestEveryEventHasACompleteSample(t *testing.T) {
	for eventType, of := range Samples() {
		if err := samples.Keep("schemas", eventType, of...); err != nil {
			t.Error(err)
		}
	}
}
