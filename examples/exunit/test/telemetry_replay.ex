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
    port = Port.open({:spawn_executable, Counts.program()}, settings)
    {:os_pid, pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["#{pid}"], stderr_to_stdout: true) end)
    assert_receive {^port, {:data, {:eol, "GRPC_READY:" <> number}}}, @timeout
    {port, "127.0.0.1:" <> number}
  end

  @doc "Waits until everything is delivered."
  def wait(port) do
    assert_receive {^port, {:exit_status, status}}, @timeout
    assert status == 0
  end
end
