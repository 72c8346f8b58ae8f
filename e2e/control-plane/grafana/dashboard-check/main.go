// Reads dashboards of Grafana from standard input, one JSON text after the other, and says what of them Grafana's schema
// does not allow: unknown and missing fields, and values of the wrong type.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	input := json.NewDecoder(os.Stdin)
	wrong := false
	for {
		var text json.RawMessage
		if err := input.Decode(&text); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		var read dashboard.Dashboard
		err := read.UnmarshalJSONStrict(text)
		if err == nil {
			err = read.Validate()
		}
		// A list of errors that is empty is an error too.
		if err != nil && err.Error() != "" {
			wrong = true
			title := struct{ Title string }{}
			_ = json.Unmarshal(text, &title)
			fmt.Printf("%s: %v\n", title.Title, err)
		}
	}
	if wrong {
		os.Exit(1)
	}
}
