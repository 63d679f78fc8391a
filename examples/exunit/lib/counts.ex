defmodule Counts do
  @moduledoc """
  A small consumer of telemetry: it counts how operations end.

  It reads the JSON lines of `telemetry-sidecar tail --json` from a port, so it needs no gRPC.
  """

  @doc """
  Counts the events of a worker until it has ended: `{:ok, %{{"tool.execution", "stop"} => 20}}`.

  `{:error, status, counts}` if the stream has failed: it can be called again.
  """
  def consume(address, counts \\ %{}) do
    arguments = ["tail", "--json", address]
    options = [:binary, :exit_status, line: 65_536, args: arguments]
    port = Port.open({:spawn_executable, program()}, options)
    read(port, "", counts)
  end

  defp program do
    name = System.get_env("TELEMETRY_SIDECAR_BIN", "telemetry-sidecar")

    System.find_executable(name) ||
      raise "#{name} is missing: put telemetry-sidecar in PATH or set TELEMETRY_SIDECAR_BIN"
  end

  defp read(port, line, counts) do
    receive do
      {^port, {:data, {:noeol, part}}} -> read(port, line <> part, counts)
      {^port, {:data, {:eol, part}}} -> read(port, "", count(line <> part, counts))
      {^port, {:exit_status, 0}} -> {:ok, counts}
      {^port, {:exit_status, status}} -> {:error, status, counts}
    end
  end

  # The name is all that counts here. For the rest of an event there is JSON.decode!/1 (Elixir 1.18)
  # or Jason.
  defp count(~s({"event": ") <> rest, counts) do
    [name, _] = String.split(rest, ~s("), parts: 2)
    {operation, [phase]} = name |> String.split(".") |> Enum.split(-1)

    if phase in ["stop", "exception"] do
      Map.update(counts, {Enum.join(operation, "."), phase}, 1, &(&1 + 1))
    else
      counts
    end
  end
end
