"""The whole of it as processes: control plane, real mosquitto, agent, pipelines, engines, on real video."""
