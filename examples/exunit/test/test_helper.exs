Code.require_file("telemetry_replay.ex", __DIR__)
ExUnit.start()
