// Reads states of IstioOperators from standard input, one JSON text after the other, and prints for each what Argo CD and what
// Flux make of it, on one line: Argo CD's own script for IstioOperators, run as Argo CD runs it, and the code of kstatus.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	customizations "github.com/argoproj/argo-cd/v3/resource_customizations"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Where Argo CD has the script.
const script = "install.istio.io/IstioOperator/health.lua"

func main() {
	if err := judge(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func judge(from io.Reader, to io.Writer) error {
	source, err := customizations.Embedded.ReadFile(script)
	if err != nil {
		return err
	}
	input := json.NewDecoder(from)
	for {
		var text json.RawMessage
		if err := input.Decode(&text); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		cr := &unstructured.Unstructured{}
		// Whole numbers stay whole, as kstatus needs them.
		if err := cr.UnmarshalJSON(text); err != nil {
			return err
		}
		argo, err := argo(string(source), cr)
		if err != nil {
			return err
		}
		flux, err := status.Compute(cr)
		if err != nil {
			return err
		}
		verdict := map[string]string{"argo": argo, "flux": string(flux.Status)}
		if err := json.NewEncoder(to).Encode(verdict); err != nil {
			return err
		}
	}
}

// What Argo CD says: an object that is being deleted is on its way, and the script judges all others.
func argo(source string, cr *unstructured.Unstructured) (string, error) {
	if cr.GetDeletionTimestamp() != nil {
		return "Progressing", nil
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName:   lua.OpenBase,
		lua.TabLibName:    lua.OpenTable,
		lua.StringLibName: lua.OpenString,
	} {
		call := lua.P{Fn: state.NewFunction(open), Protect: true}
		if err := state.CallByParam(call, lua.LString(name)); err != nil {
			return "", err
		}
	}
	state.SetGlobal("obj", value(state, cr.Object))
	if err := state.DoString(source); err != nil {
		return "", err
	}
	health, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", fmt.Errorf("the script gives no table")
	}
	said, ok := health.RawGetString("status").(lua.LString)
	if !ok {
		return "", fmt.Errorf("the script gives no status")
	}
	return string(said), nil
}

// A JSON value as Lua has it.
func value(state *lua.LState, of any) lua.LValue {
	switch it := of.(type) {
	case bool:
		return lua.LBool(it)
	case int64:
		return lua.LNumber(it)
	case float64:
		return lua.LNumber(it)
	case string:
		return lua.LString(it)
	case []any:
		table := state.NewTable()
		for _, element := range it {
			table.Append(value(state, element))
		}
		return table
	case map[string]any:
		table := state.NewTable()
		for key, field := range it {
			table.RawSetString(key, value(state, field))
		}
		return table
	default:
		return lua.LNil
	}
}
