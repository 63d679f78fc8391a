defmodule CountsTest do
  use ExUnit.Case, async: true

  @recording Path.expand("../../spans.log", __DIR__)

  # The ends in the recording.
  @expected %{
    {"tool.execution", "stop"} => 20,
    {"tool.execution", "exception"} => 4,
    {"python.call", "stop"} => 6,
    {"python.call", "exception"} => 2
  }

  test "counts the ends of operations" do
    {replay, address} = TelemetryReplay.start([@recording])
    assert Counts.consume(address) == {:ok, @expected}
    TelemetryReplay.wait(replay)
  end

  test "continues when the stream fails" do
    {replay, address} = TelemetryReplay.start(["--fail-after", "10", @recording])
    assert consume_all(address, %{}) == {@expected, 6}
    TelemetryReplay.wait(replay)
  end

  defp consume_all(address, counts, failures \\ 0) do
    case Counts.consume(address, counts) do
      {:ok, counts} -> {counts, failures}
      {:error, 125, counts} -> consume_all(address, counts, failures + 1)
    end
  end
end
