defmodule Counts.MixProject do
  use Mix.Project

  def project do
    [app: :counts, version: "0.1.0", elixir: "~> 1.14"]
  end
end
