defmodule TelemetryReplay do
  @moduledoc """
  Serves recordings to the consumer under test. It is one file, to be copied.
  """

  import ExUnit.Assertions
  import ExUnit.Callbacks

  @timeout 30_000

  @doc """
  Starts a telemetry-sidecar that serves recorded stderr as if a worker wrote it, and returns its port and
  its address. It waits for a subscriber before the first event, and waits until everything is delivered.

  The words are options of the program, such as `"--fail-after", "10"`, and recordings.
  """
  def start(words) do
    options = ["replay", "--no-stderr", "--timeout", "60s", "--listen", "127.0.0.1:0"]
    settings = [:binary, :exit_status, :stderr_to_stdout, line: 1024, args: options ++ words]
    port = Port.open({:spawn_executable, program()}, settings)
    {:os_pid, pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["#{pid}"], stderr_to_stdout: true) end)
    {port, "127.0.0.1:" <> port_number(port, "")}
  end

  @doc "Waits until everything is delivered."
  def wait(port) do
    assert_receive {^port, {:exit_status, status}}, @timeout
    assert status == 0
  end

  defp port_number(port, output) do
    receive do
      {^port, {:data, {:eol, "GRPC_READY:" <> number}}} ->
        number

      {^port, {:data, {_, line}}} ->
        port_number(port, output <> line <> "\n")

      {^port, {:exit_status, status}} ->
        flunk("telemetry-sidecar: exit status #{status}\n" <> output)
    after
      @timeout -> flunk("telemetry-sidecar has not started\n" <> output)
    end
  end

  defp program do
    name = System.get_env("TELEMETRY_SIDECAR_BIN", "telemetry-sidecar")

    System.find_executable(name) ||
      flunk("#{name} is missing: put telemetry-sidecar in PATH or set TELEMETRY_SIDECAR_BIN")
  end
end
