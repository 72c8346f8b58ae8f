module control-plane/grafana

go 1.26.0

tool control-plane/grafana/dashboard-check

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
