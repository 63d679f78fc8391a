defmodule TelemetryReplay do
  @moduledoc """
  Serves recordings to the consumer under test. It is one file, to be copied.
  """

  import ExUnit.Assertions, only: [flunk: 1]
  import ExUnit.Callbacks

  # The replay gives up first, and then says why.
  @limit "30s"
  @timeout 40_000

  @doc """
  Starts a telemetry-sidecar that serves recorded stderr as if a worker wrote it, and returns its port and
  its address. It waits for a subscriber before the first event, and waits until everything is delivered.

  The words are options of the program, such as `"--fail-after", "10"`, and a recording, which is the last one.
  The test fails if that has no events.
  """
  def start(words) do
    unless is_list(words) and words != [] and Enum.all?(words, &is_binary/1) do
      flunk("TelemetryReplay.start takes a list of strings, not #{inspect(words)}")
    end

    check_events(words)
    options = ["replay", "--no-stderr", "--timeout", @limit, "--listen", "127.0.0.1:0"]
    settings = [:binary, :exit_status, :stderr_to_stdout, line: 1024, args: options ++ words]
    port = Port.open({:spawn_executable, program()}, settings)
    {:os_pid, pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["#{pid}"], stderr_to_stdout: true) end)
    {port, "127.0.0.1:" <> port_number(port, "")}
  end

  @doc "Waits until everything is delivered."
  def wait(port) do
    wait(port, "")
  end

  defp wait(port, output) do
    receive do
      {^port, {:data, {_, line}}} ->
        wait(port, output <> line <> "\n")

      {^port, {:exit_status, 0}} ->
        :ok

      {^port, {:exit_status, status}} ->
        flunk("telemetry-sidecar: exit status #{status}\n" <> output)
    after
      @timeout -> flunk("telemetry-sidecar has not ended\n" <> output)
    end
  end

  # Without events the replay would end at once, and a consumer would wait for it.
  defp check_events(words) do
    decoding =
      for [option, value] <- Enum.chunk_every(words, 2, 1, :discard),
          option in ["--embedded", "--max-line-bytes"],
          word <- [option, value],
          do: word

    arguments = ["decode"] ++ decoding ++ [List.last(words)]

    {output, status} = System.cmd(program(), arguments, stderr_to_stdout: true)

    # Of a recording that cannot be read the replay says what is wrong.
    if status == 0 and not String.contains?(output, ~s({"event": )) do
      flunk("the recording has no event: " <> output)
    end
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
