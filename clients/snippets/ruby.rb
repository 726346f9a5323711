# Publishes events through dispatchd, with Ruby's standard library (3.0 or newer). It waits for each event's ack; it
# never batches. Copy it into an application: one Dispatchd for each thread.
#   Dispatchd.new.publish("order.placed", { total: 12.5 }, partitionKey: "customer-9")
require "json"
require "securerandom"
require "socket"
require "timeout"

class Dispatchd
  # Why an event was not published. outcome is "unknown" if it may be in the stream all the same.
  class Error < StandardError
    attr_reader :code, :retryable, :outcome

    def initialize(code, message, retryable, outcome)
      super("#{code}: #{message}")
      @code, @retryable, @outcome = code, retryable, outcome
    end
  end

  def initialize(path = ENV.fetch("DISPATCHD_SOCKET", "/run/dispatchd/dispatchd.sock"))
    @path, @ref = path, 0
  end

  # Returns the ack once the event is durable. What may pass is tried again for so many seconds, with the same id, so
  # that nothing is stored twice.
  def publish(type, data, timeout: 150, **options)
    line = JSON.generate({ ref: @ref += 1, type: type, data: data, options: { id: SecureRandom.uuid }.merge(options) })
    deadline, wait, outcome, last = clock + timeout, 0.05, "not_stored", "no answer"
    while (left = deadline - clock).positive?
      begin
        answer = Timeout.timeout(left) { ask(line) }
        return answer if answer["ok"]
        refusal = answer["error"]
        outcome = "unknown" if refusal["outcome"] == "unknown"
        last = "#{refusal["code"]}: #{refusal["message"]}"
        raise Error.new(refusal["code"], refusal["message"], false, outcome) unless refusal["retryable"]
      rescue SystemCallError, IOError, JSON::ParserError, Timeout::Error => e
        outcome = "unknown" if @connection # the line may have been read
        @connection&.close
        @connection, last = nil, "#{@path}: #{e.message}"
      end
      sleep([rand * wait, deadline - clock].min.clamp(0, 5))
      wait = [wait * 2, 5].min
    end
    raise Error.new("Timeout", "not published within #{timeout} s, at last: #{last}", true, outcome)
  end

  private def ask(line)
    @connection ||= UNIXSocket.new(@path)
    @connection.puts(line)
    answer = JSON.parse(@connection.readline) until answer && (answer["ref"] == @ref || answer["error"] && !answer["ref"])
    answer
  end

  private def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

puts JSON.generate(Dispatchd.new.publish(ARGV[0], JSON.parse(ARGV[1]))) if $PROGRAM_NAME == __FILE__
